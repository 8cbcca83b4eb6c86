package codec

import "testing"

// benchmarkPacket measures both directions of p.
func benchmarkPacket(b *testing.B, p Packet, v Version) {
	data := p.Append(nil, v)
	b.Run("decode", func(b *testing.B) {
		d := Decoder{FromServer: true}
		b.ReportAllocs()
		for b.Loop() {
			if _, n, err := d.Next(data, v, 0); n != len(data) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		out := make([]byte, 0, 2*len(data))
		b.ReportAllocs()
		for b.Loop() {
			out = p.Append(out[:0], v)
		}
	})
}

func BenchmarkPublishQoS0(b *testing.B)  { benchmarkPacket(b, full()["PUBLISH QoS 0"], V311) }
func BenchmarkPublishQoS1(b *testing.B)  { benchmarkPacket(b, full()["PUBLISH QoS 1"], V311) }
func BenchmarkPublish5QoS0(b *testing.B) { benchmarkPacket(b, full()["PUBLISH QoS 0"], V5) }
func BenchmarkPublish5All(b *testing.B)  { benchmarkPacket(b, full()["PUBLISH QoS 2"], V5) }
func BenchmarkPuback(b *testing.B)       { benchmarkPacket(b, &Puback{ID: 7}, V311) }
func BenchmarkPuback5(b *testing.B)      { benchmarkPacket(b, &Puback{ID: 7}, V5) }
func BenchmarkPuback5All(b *testing.B)   { benchmarkPacket(b, full()["PUBACK"], V5) }

func BenchmarkMatch(b *testing.B) {
	topic := []byte("plant/7/pump/temperature")
	for _, filter := range []string{"plant/7/pump/temperature", "plant/+/pump/#", "plant/8/pump/temperature"} {
		b.Run(filter, func(b *testing.B) {
			f := []byte(filter)
			b.ReportAllocs()
			for b.Loop() {
				Match(f, topic)
			}
		})
	}
}

func BenchmarkValidTopic(b *testing.B) {
	for _, topic := range []string{"plant/7/pump/temperature", "Werk/7/Kühlung/Temperatur"} {
		b.Run(topic, func(b *testing.B) {
			t := []byte(topic)
			b.ReportAllocs()
			for b.Loop() {
				if err := ValidTopic(t); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
