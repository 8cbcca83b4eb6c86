package gateway

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice/codec"
)

// machine is a client that keeps its session as the specification asks of one: it
// publishes numbered messages, and notes what it gets.
type machine struct {
	*peer // nil: away
	at    *site
	name  string
	v     codec.Version

	flows  []*flow        // not acknowledged, in order
	next   map[string]int // by topic, the next number to publish
	lastID uint16

	got     map[string][]int // by topic, the numbers that came
	held    map[uint16]bool  // QoS 2 identifiers received and not released
	answers []codec.Packet   // not sent yet
	counts  bool             // that no more than its Receive Maximum comes
	fault   string
}

// flow is a message that is not acknowledged.
type flow struct {
	codec.Publish
	released bool
}

func newMachine(at *site, name string, v codec.Version) *machine {
	return &machine{at: at, name: name, v: v, next: make(map[string]int), got: make(map[string][]int), held: make(map[uint16]bool)}
}

// machineMaximum is the Receive Maximum of machines, at which they hold the gateway.
const machineMaximum = 7

// connect comes back, and goes on where it was.
func (d *machine) connect() {
	d.peer = d.at.dial(d.name, d.v)
	c := codec.Connect{Version: d.v, ClientID: []byte(d.name), ReceiveMaximum: machineMaximum}
	keep(&c)
	d.say(&c)
	d.at.settle()
	if ack, ok := d.peer.next().(*codec.Connack); !ok || ack.Code != codec.Success {
		d.fault = "CONNECT answered by " + show(ack)
		return
	}
	for _, f := range d.flows {
		if f.released {
			d.say(&codec.Pubrel{ID: f.ID})
		} else {
			f.Dup = true
			d.say(&f.Publish)
		}
	}
}

func (d *machine) say(p codec.Packet) { d.nc.Write(p.Append(nil, d.v)) }

// leave cuts the connection; answers not given are never given.
func (d *machine) leave() {
	if d.peer != nil {
		d.nc.Close()
		d.peer, d.answers = nil, nil
	}
}

// publish sends the next message of a topic, if the window is open.
func (d *machine) publish(qos byte) {
	if len(d.flows) >= 10 {
		return
	}
	d.publishOn(fmt.Sprintf("%s/%d", d.name, qos), qos)
}

func (d *machine) publishOn(topic string, qos byte) {
	d.lastID++
	f := &flow{Publish: *message(topic, strconv.Itoa(d.next[topic]), qos, d.lastID)}
	d.next[topic]++
	d.flows = append(d.flows, f)
	d.say(&f.Publish)
}

// listen takes what came.
func (d *machine) listen() {
	for p := d.peer.next(); p != nil; p = d.peer.next() {
		switch p := p.(type) {
		case *codec.Publish:
			if d.counts && !d.held[p.ID] && d.unanswered() >= machineMaximum {
				d.fault = "more than its Receive Maximum came"
			}
			if p.QoS == 2 {
				d.answers = append(d.answers, &codec.Pubrec{ID: p.ID})
				if d.held[p.ID] {
					continue
				}
				d.held[p.ID] = true
			} else {
				d.answers = append(d.answers, &codec.Puback{ID: p.ID})
			}
			n, _ := strconv.Atoi(string(p.Payload))
			d.got[string(p.Topic)] = append(d.got[string(p.Topic)], n)
		case *codec.Pubrel:
			delete(d.held, p.ID)
			d.answers = append(d.answers, &codec.Pubcomp{ID: p.ID})
		case *codec.Puback:
			d.ended(p.ID, 1)
		case *codec.Pubrec:
			for _, f := range d.flows {
				if f.ID == p.ID && f.QoS == 2 {
					f.released = true
				}
			}
			d.answers = append(d.answers, &codec.Pubrel{ID: p.ID})
		case *codec.Pubcomp:
			d.ended(p.ID, 2)
		case *codec.Suback:
		default:
			d.fault = "got " + show(p)
		}
	}
}

// unanswered is how many messages it has taken and not ended, those at QoS 2 since before
// this connection included: many a server counts so.
func (d *machine) unanswered() int {
	n := len(d.held)
	for _, a := range d.answers {
		if a.Type() == codec.TypePuback {
			n++
		}
	}
	return n
}

func (d *machine) ended(id uint16, qos byte) {
	for i, f := range d.flows {
		if f.ID == id && f.QoS == qos {
			d.flows = append(d.flows[:i], d.flows[i+1:]...)
			return
		}
	}
}

// answer gives the first n answers that are due.
func (d *machine) answer(n int) {
	n = min(n, len(d.answers))
	for _, a := range d.answers[:n] {
		d.say(a)
	}
	d.answers = d.answers[n:]
}

// crash ends the gateway as SIGKILL does: with what its store has written by now, and
// with nothing heard of it any more. Without devices, which can be made deaf, it ends at rest.
func (at *site) crash(devices []*machine) {
	if len(devices) == 0 {
		at.settle()
	}
	for _, d := range devices {
		if d.peer != nil {
			d.deaf <- struct{}{}
		}
	}
	files, err := filepath.Glob(filepath.Join(at.dir, "*.db"))
	if err != nil || len(files) == 0 {
		at.t.Fatal("no store in ", at.dir)
	}
	dir := at.t.TempDir()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600)
		}
		if err != nil {
			at.t.Fatal(err)
		}
	}
	for _, d := range devices {
		if p := d.peer; p != nil {
			d.leave()
			<-p.deaf
		}
	}
	at.stop()
	at.dir = dir
	at.start()
}

// Devices that come and go, a gateway that is restarted and killed: nothing is lost,
// order is kept, and what was published at QoS 2 comes exactly once.
func TestSoak(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			onDisk(t, Config{MaxInflight: 16}, func(at *site) { soak(at, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func soak(at *site, r *rand.Rand) {
	var publishers, subscribers []*machine
	for i := range 3 {
		publishers = append(publishers, newMachine(at, fmt.Sprint("pub", i), versions[i]))
		subscribers = append(subscribers, newMachine(at, fmt.Sprint("sub", i), versions[i]))
	}
	all := append(append([]*machine(nil), publishers...), subscribers...)
	for _, d := range subscribers {
		d.connect()
		d.peer.subscribe(2, "+/1", "+/2")
	}
	for range 2500 {
		d := all[r.IntN(len(all))]
		switch x := r.IntN(100); {
		case x == 0 && r.IntN(4) == 0:
			at.crash(all)
		case x == 0 && r.IntN(4) == 0:
			for _, d := range all {
				d.leave()
			}
			at.restart()
		case d.peer == nil:
			if x < 30 {
				d.connect()
			}
		case x < 3:
			d.leave()
		case x < 30:
			d.listen()
		case x < 60:
			d.answer(r.IntN(8))
		case x < 62:
			time.Sleep(3 * time.Second) // windows are stored meanwhile
		case d.next != nil && strings.HasPrefix(d.name, "pub"):
			d.publish(1 + byte(r.IntN(2)))
		}
	}
	for range 20 { // all come back and end what they began
		for _, d := range all {
			if d.peer == nil {
				d.connect()
			}
			at.settle()
			d.listen()
			d.answer(1000)
		}
		at.settle()
	}
	for range 200 {
		for _, d := range all {
			d.listen()
			d.answer(1000)
			at.settle()
		}
	}
	for _, d := range all {
		if d.fault != "" || len(d.flows) > 0 || d.closed() {
			at.t.Errorf("%s: %s, %d messages without an end, closed %v", d.name, d.fault, len(d.flows), d.closed())
		}
	}
	for _, p := range publishers {
		for topic, sent := range p.next {
			for _, s := range subscribers {
				if what := wrong(s.got[topic], sent, strings.HasSuffix(topic, "/2")); what != "" {
					at.t.Errorf("%s at %s: %s", topic, s.name, what)
				}
			}
		}
	}
	if n := at.srv.Stats().Dropped; n != (Dropped{}) {
		at.t.Errorf("dropped %+v", n)
	}
}

// wrong says what is wrong with numbers that ought to be 0 up to sent in order, with
// repetitions only where that is allowed.
func wrong(got []int, sent int, once bool) string {
	want := 0
	for i, n := range got {
		switch {
		case n == want:
			want++
		case n > want:
			return fmt.Sprintf("%d came before %d, as the %d-th", n, want, i)
		case once:
			return fmt.Sprintf("%d came again, as the %d-th", n, i)
		}
	}
	if want != sent {
		return fmt.Sprintf("%d of %d came", want, sent)
	}
	return ""
}
