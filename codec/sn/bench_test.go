package sn

import "testing"

// benchmarkMessage measures both directions of m.
func benchmarkMessage(b *testing.B, m Message) {
	data := m.Append(nil)
	b.Run("decode", func(b *testing.B) {
		var d Decoder
		b.ReportAllocs()
		for b.Loop() {
			if _, err := d.Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		out := make([]byte, 0, 2*len(data))
		b.ReportAllocs()
		for b.Loop() {
			out = m.Append(out[:0])
		}
	})
}

func BenchmarkPublish(b *testing.B) {
	benchmarkMessage(b, &Publish{QoS: 1, TopicID: 5, MessageID: 7, Data: make([]byte, 64)})
}

func BenchmarkPuback(b *testing.B) { benchmarkMessage(b, &Puback{TopicID: 5, MessageID: 7}) }
