package gateway

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice/codec"
	"sluice/store"
)

// Records that make no sense are skipped, said, and gone with the next start; the rest serves.
func TestDamagedRecords(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		good := at.join("good", codec.V5, keep)
		good.subscribe(1, "a")
		pub := at.join("pub", codec.V5, keep)
		pub.send(message("a", "x", 1, 1), message("a", "y", 2, 2), retained("r", "z", 1, 3))
		key := func(kind byte, name string) string { return at.srv.sessions[name].diskKey(kind) }
		orphan := "\x00\x00\x00\x00\x00\x00\x00\x63" // of a session number 99 that is not there
		for k, v := range map[string]string{
			key('s', "pub"):                      "\x01",                     // cut off
			key('i', "good"):                     "\x00\x05\x00",             // odd
			key('w', "good"):                     "\x05\x02",                 // ends before it begins
			key('u', "good") + "b/#/c":           "\x01\x00",                 // no filter
			key('u', "good") + "c":               "",                         // empty
			"u/" + orphan + "d":                  "\x01\x00",                 //
			"i/" + orphan:                        "\x00\x07",                 //
			"w/" + orphan:                        "\x01\x01",                 //
			"s/short":                            "",                         //
			"s/\x00\x00\x00\x00\x00\x00\x00\x62": "\x0a\x00\x00\x04good\x00", // a second one of that name
			"r/bad":                              "\x00\x00not a packet",
			"r/worse":                            "\xff",
		} {
			at.db.Set(k, v, store.Now)
		}
		at.db.Queue(98).Append([]byte("of nobody"), store.Now)
		log := &journal{}
		at.cfg.Log = slog.New(slog.NewTextHandler(log, nil))
		at.settle()
		at.crash(nil) // so that nothing is mended by an orderly end
		st := at.srv.Stats()
		// The records above, and of pub: what it held.
		if st.Sessions != 1 || st.Subscriptions != 1 || st.Retained != 1 || st.Dropped.Damaged != 13 {
			t.Errorf("loaded %+v", st)
		}
		if !strings.Contains(log.String(), "unreadable records skipped") || !strings.Contains(log.String(), "queues without a session removed") {
			t.Errorf("the log says %s", log)
		}
		good = at.join("good", codec.V5, keep)
		one, two := message("a", "x", 1, 2), message("a", "y", 1, 3)
		one.Dup, two.Dup = true, true
		good.want("what it was sent comes again", one, two)
		fresh := at.join("fresh", codec.V5, keep)
		fresh.send(message("q", "", 2, 7))
		fresh.want("a new session holds nothing of those that were lost", &codec.Pubrec{ID: 7, Code: codec.NoMatchingSubscribers})
		time.Sleep(2 * time.Second)
		at.restart()
		if d := at.srv.Stats().Dropped.Damaged; d != 0 {
			t.Errorf("%d damaged records at the next start", d)
		}
	})
}

// A message that can not be read does not hold up those behind it.
func TestUnreadableMessageIsSkipped(t *testing.T) {
	onDisk(t, Config{}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		p.subscribe(1, "a")
		p.cut()
		at.srv.mu.Lock()
		at.srv.sessions["p"].queue.Append([]byte("\x00\x00\x30"), store.Now)
		at.srv.sessions["p"].queue.Append([]byte("\x00\x00\xc0\x00"), store.Now)
		at.srv.mu.Unlock()
		pub := at.join("pub", codec.V5)
		pub.send(message("a", "x", 1, 1))
		at.restart()
		p = at.join("p", codec.V5, keep)
		p.want("the one behind comes", message("a", "x", 1, 4))
		if d := at.srv.Stats().Dropped.Damaged; d != 2 {
			t.Errorf("%d counted as damaged, want 2", d)
		}
	})
}

// A session that the client asked not to keep any more is not kept, nor in the way of
// others' wills, if the gateway dies first.
func TestSessionGivenUpEndsAtLoad(t *testing.T) {
	onDisk(t, Config{QueueMaxBytes: 200}, func(at *site) {
		p := at.join("p", codec.V5, keep)
		p.subscribe(1, "w")
		for _, name := range []string{"q", "r", "s"} {
			at.join(name, codec.V5, keep, withWill(0), func(c *codec.Connect) { c.Will.Payload = make([]byte, 150) })
		}
		at.join("p", codec.V5, func(c *codec.Connect) { c.CleanStart = false })
		time.Sleep(2 * time.Second)
		at.crash(nil)
		if n := at.srv.Stats(); n.Sessions != 3 || n.Subscriptions != 0 || n.Wills != 3 {
			t.Errorf("%+v", n)
		}
	})
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func TestDropsAreReported(t *testing.T) {
	log := &journal{}
	inBubble(t, Config{Log: slog.New(slog.NewTextHandler(log, nil))}, func(at *site) {
		sub := at.join("sub\nlevel=ERROR msg=forged", codec.V5, keep)
		sub.subscribe(1, "a")
		sub.cut()
		pub := at.join("pub", codec.V5)
		text := func() string {
			at.settle()
			return log.String()
		}
		reports := func() int { return strings.Count(text(), "messages dropped") }
		pub.send(message("a", "", 0, 0), message("a", "", 0, 0))
		time.Sleep(59 * time.Second)
		if reports() != 0 {
			t.Error("it is told before a minute has passed")
		}
		time.Sleep(2 * time.Second)
		if reports() != 1 || !strings.Contains(text(), "dropped.qos0_away=2") {
			t.Errorf("after a minute the log says %s", text())
		}
		time.Sleep(10 * time.Minute)
		if reports() != 1 {
			t.Error("it is told again without news")
		}
		pub.send(message("a", "", 0, 0))
		time.Sleep(2 * time.Minute)
		if reports() != 2 || !strings.Contains(text(), "dropped.qos0_away=3") {
			t.Errorf("then the log says %s", text())
		}
		for _, line := range strings.Split(text(), "\n") {
			if strings.HasPrefix(line, "level=") {
				t.Errorf("a client wrote a line of the log: %s", line)
			}
		}
	})
}
