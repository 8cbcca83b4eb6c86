package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// workload is a load, the sides that it is put on, and what is to be seen of it.
type workload struct {
	group string
	name  string
	flags string // scenario and flags of sluice bench
	timed bool   // runs for a time, which is added
	long  bool   // and for four times that: the slowest of a thousand messages are few
	sides []side
	base  string // label of the side that ratios are to
	rows  []row
	note  string // what has to be known to judge the figures

	// measure is done instead of putting the load of flags on a side, where that is not all.
	measure func(ctx context.Context, b *brokers, s side, args []string) (outcome, []byte, error)
	about   string // what that does besides, for the list of loads
	rounds  int    // as many at most; 0: as many as of the others
}

// side is a broker, and how it is spoken to.
type side struct {
	label  string
	broker string   // its start script in peers/
	scheme string   // of the URL
	env    []string // of the broker
	flags  string   // further ones of sluice bench
	traced bool     // needs strace
	apart  bool     // the broker has a processor for itself, and sluice bench goes first on the others
}

// row is a figure of a load.
type row struct {
	figure string // what it is, with its unit
	value  func(outcome) float64
	side   string // whose figure is measured against goal; "" is the first
	goal   goal
}

// name is the figure, and whose if that is not plain.
func (w row) name() string {
	if w.side == "" {
		return w.figure
	}
	return w.figure + ", " + w.side
}

// goal is what a figure is to be; the zero value is none. Of ratio and atMost, the one that
// allows more counts.
type goal struct {
	ratio   float64 // of the base, or less
	atMost  float64
	atLeast float64
}

func (g goal) String() string {
	switch {
	case g.ratio > 0 && g.atMost > 0:
		return fmt.Sprintf("%s or ratio %.2f, or less", cell(g.atMost), g.ratio)
	case g.ratio > 0:
		return fmt.Sprintf("%.2f or less", g.ratio)
	case g.atMost > 0:
		return cell(g.atMost) + " or less"
	case g.atLeast > 0:
		return cell(g.atLeast) + " or more"
	}
	return ""
}

// limit is the figure itself that the goal asks for, beside that of the base; 0 is none.
func (g goal) limit(base float64) float64 { return max(g.ratio*base, g.atMost, g.atLeast) }

// met says whether a figure, and its ratio to that of the base, reach the goal.
func (g goal) met(figure, ratio float64) bool {
	if g.atLeast > 0 {
		return figure >= g.atLeast
	}
	return g.atMost > 0 && figure <= g.atMost || g.ratio > 0 && ratio <= g.ratio
}

// What rows show.
func cpu(o outcome) float64          { return o.CPUPerMsg }
func p50(o outcome) float64          { return o.P50 }
func p99(o outcome) float64          { return o.P99 }
func p999(o outcome) float64         { return o.P999 }
func delivered(o outcome) float64    { return o.OutPerSec }
func acknowledged(o outcome) float64 { return o.InPerSec }
func rssConn(o outcome) float64      { return o.RSSPerConn }
func storeCPU(o outcome) float64     { return o.StoreCPU }
func storeRSS(o outcome) float64     { return o.StoreRSS }
func written(o outcome) float64      { return o.Written }
func collecting(o outcome) float64   { return o.Collector }

const (
	perMessage = "CPU us/message"
	flood0     = " -qos 0 -window 400 -burst 32"
	flood1     = " -qos 1 -inflight 64 -burst 16"
	flood2     = " -qos 2 -inflight 64 -burst 16"
	pace       = " -rate 5000"

	fsyncNote = "Sluice acknowledges what is stored when it is on disk; the others keep it in memory. The one publisher has 32 messages in flight, so " +
		"that each costs at least a thirty-second of an fsync, whose processor time is above: at 40 us that is 1.25 us, more than 0.13 of what " +
		"Mosquitto takes for a message that it keeps. So the goals of storing are for like beside like: with sync never, Sluice as well " +
		"acknowledges before the disk has it."

	slowNote = "fsync + 10 ms: strace holds each fsync of the gateway for so long, as an SD card would; the others of its threads go on."
	slowDisk = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync -e inject=fsync,fdatasync:delay_exit=10000"

	relayNote = "The relay is no broker: one thread that hands on what comes, for clients that it has no state of. What a message takes through it, the " +
		"machine and the generator make of it. So the slowest of a thousand messages are to take less than 2 ms, or, where the machine " +
		"stalls for longer, no more than through the relay, but for the 20 % that mean nothing."

	noSync = "SLUICE_STORE_SYNC=never"
	synced = "SLUICE_STORE_SYNC=always"
)

var (
	sluice    = side{label: "Sluice", broker: "sluice"}
	mosquitto = side{label: "Mosquitto", broker: "mosquitto"}
	nats      = side{label: "nats-server", broker: "nats"}
	mochi     = side{label: "mochi", broker: "mochi"}
	peers     = []side{sluice, mosquitto, nats, mochi}

	cached      = side{label: "Sluice", broker: "sluice", env: []string{noSync}}
	likeForLike = []side{cached, mosquitto}

	bare = side{label: "relay", broker: "relay"}

	always = side{label: "sync always", broker: "sluice", env: []string{synced}}
	never  = side{label: "sync never", broker: "sluice", env: []string{noSync}}
	slow   = side{label: "fsync + 10 ms", broker: "sluice", env: []string{synced, "WRAP=" + slowDisk}, traced: true}

	tcp   = side{label: "TCP", broker: "sluice"}
	ws    = side{label: "WebSocket", broker: "sluice", scheme: "ws"}
	tls   = side{label: "TLS", broker: "sluice", scheme: "mqtts", flags: "-insecure"}
	wires = []side{tcp, ws, tls}

	five = side{label: "MQTT 5", broker: "sluice", flags: "-V 5 -user 2 -alias"}
	four = side{label: "MQTT 3.1.1", broker: "sluice"}
)

// beside is a load on all peers whose CPU time for a message is looked at.
func beside(name, flags string, goals float64, more ...row) *workload {
	return &workload{
		group: "Messages", name: name, flags: flags, timed: true, sides: peers, base: mosquitto.label,
		rows: append([]row{{perMessage, cpu, "", goal{ratio: goals}}}, more...),
	}
}

// forLong has a load last longer.
func forLong(l *workload) *workload {
	l.long = true
	return l
}

// collector is what the garbage collector took of a broker written in Go.
var collector = row{"garbage collector, % of CPU", collecting, "", goal{atMost: 3}}

// overWires is a load on the gateway over different wires.
func overWires(name, flags string) *workload {
	return &workload{
		group: "Wires", name: name, flags: flags, timed: true, sides: wires, base: tcp.label,
		rows: []row{
			{perMessage, cpu, ws.label, goal{ratio: 1.3}},
			{perMessage, cpu, tls.label, goal{ratio: 1.6}},
		},
	}
}

// loads are all there are.
var loads = []*workload{
	beside("fan-in 50 to 1, QoS 0", "fanin -pubs 50"+flood0, 0.06),
	beside("fan-in 50 to 1, QoS 1", "fanin -pubs 50"+flood1, 0.07, collector),
	beside("fan-out 1 to 100, QoS 0", "fanout -subs 100"+flood0, 0.10),
	beside("fan-out 1 to 100, QoS 1", "fanout -subs 100"+flood1, 0.13),
	beside("50 pairs, QoS 0", "pairs -pairs 50"+flood0, 0.05, collector),
	beside("50 pairs, QoS 1", "pairs -pairs 50"+flood1, 0.06, collector),
	beside("50 pairs, QoS 2", "pairs -pairs 50"+flood2, 0.06, collector),
	forLong(beside("50 pairs at 5,000/s, QoS 0", "pairs -pairs 50 -qos 0"+pace, 1,
		row{"latency p50 us", p50, "", goal{ratio: 1}}, row{"latency p99 us", p99, "", goal{}}, row{"latency p99.9 us", p999, "", goal{}})),
	beside("50 pairs at 5,000/s, QoS 1", "pairs -pairs 50 -qos 1"+pace, 1, row{"latency p99 us", p99, "", goal{}}),
	forLong(&workload{
		group: "Beside a relay", name: "50 pairs at 5,000/s, QoS 0", flags: "pairs -pairs 50 -qos 0" + pace, timed: true,
		sides: []side{sluice, bare}, base: bare.label,
		rows: []row{
			{perMessage, cpu, "", goal{}},
			{"latency p50 us", p50, "", goal{}},
			{"latency p99 us", p99, "", goal{}},
			{"latency p99.9 us", p999, "", goal{ratio: 1.2, atMost: 2000}},
		},
		note: relayNote,
	}),
	{
		group: "Connections", name: "5,000 idle connections, a subscription each", flags: "conns -conns 5000",
		sides: peers, base: mosquitto.label,
		rows: []row{
			{"RSS bytes/connection", rssConn, "", goal{ratio: 1}},
			{"CPU us/connect and subscribe", cpu, "", goal{ratio: 0.7}},
		},
	},
	{
		group: "Kept messages", name: "10,000 retained messages, QoS 1", flags: "retained -n 10000 -qos 1",
		sides: peers, base: mosquitto.label,
		rows: []row{
			{"store, CPU us/message", storeCPU, "", goal{}},
			{"deliver, " + perMessage, cpu, "", goal{ratio: 0.25}},
		},
		note: fsyncNote,
	},
	{
		group: "Kept messages", name: "50,000 messages for an absent subscriber, QoS 1", flags: "offline -qos 1 -n 50000",
		sides: peers, base: mosquitto.label,
		rows: []row{
			{"store, CPU us/message", storeCPU, "", goal{}},
			{"drain, " + perMessage, cpu, "", goal{ratio: 0.13}},
			{"RSS bytes/message", storeRSS, "", goal{ratio: 1}},
		},
		note: fsyncNote,
	},
	{
		group: "Kept messages", name: "10,000 retained messages, QoS 1, sync never", flags: "retained -n 10000 -qos 1",
		sides: likeForLike, base: mosquitto.label,
		rows: []row{{"store, CPU us/message", storeCPU, "", goal{ratio: 0.22}}},
	},
	{
		group: "Kept messages", name: "50,000 messages for an absent subscriber, QoS 1, sync never", flags: "offline -qos 1 -n 50000",
		sides: likeForLike, base: mosquitto.label,
		rows: []row{{"store, CPU us/message", storeCPU, "", goal{ratio: 0.13}}},
	},
	{
		group: "On disk", name: "absent subscriber, QoS 1, 50 publishers with 50 in flight", flags: "offline -qos 1 -pubs 50 -inflight 50 -n 4000",
		sides: []side{always, never, slow}, base: never.label,
		rows: []row{
			{"acknowledged/s", acknowledged, "", goal{atLeast: 150000}},
			{"acknowledged/s", acknowledged, slow.label, goal{atLeast: 20000}},
			{"store, CPU us/message", storeCPU, "", goal{atMost: 5}},
		},
		note: slowNote,
	},
	{
		group: "On disk", name: "everybody online, 50 pairs with durable sessions, QoS 1", flags: "pairs -pairs 50 -durable" + flood1, timed: true,
		sides: []side{always, never}, base: never.label,
		rows: []row{
			{perMessage, cpu, "", goal{ratio: 1.2}},
			{"bytes to disk/message", written, "", goal{atMost: 20}},
			collector,
		},
	},
	overWires("50 pairs, QoS 0", "pairs -pairs 50"+flood0),
	overWires("50 pairs, QoS 1", "pairs -pairs 50"+flood1),
	{
		group: "Wires", name: "3,000 idle connections, a subscription each", flags: "conns -conns 3000",
		sides: wires, base: tcp.label,
		rows: []row{
			{"RSS bytes/connection", rssConn, ws.label, goal{atMost: 1536}},
			{"RSS bytes/connection", rssConn, tls.label, goal{atMost: 12288}},
		},
	},
	{
		group: "Versions", name: "two user properties and a topic alias, or none: 50 pairs, QoS 1", flags: "pairs -pairs 50" + flood1, timed: true,
		sides: []side{five, four}, base: four.label,
		rows: []row{{perMessage, cpu, "", goal{ratio: 1.3}}},
	},
}

// ownLoad is a load that the user thought of.
func ownLoad(flags string) *workload {
	rows := []row{{perMessage, cpu, "", goal{}}, {"delivered/s", delivered, "", goal{}}, {"latency p50 us", p50, "", goal{}}, {"latency p99 us", p99, "", goal{}}}
	switch strings.Fields(flags)[0] {
	case "conns":
		rows = []row{{"CPU us/connection", cpu, "", goal{}}, {"RSS bytes/connection", rssConn, "", goal{}}, {"ready p50 us", p50, "", goal{}}}
	case "retained", "offline":
		rows = []row{{"stored/s", acknowledged, "", goal{}}, {"store, CPU us/message", storeCPU, "", goal{}},
			{"deliver, CPU us/message", cpu, "", goal{}}, {"RSS bytes/message", storeRSS, "", goal{}}}
	}
	return &workload{group: flags, name: flags, flags: flags, sides: peers, base: mosquitto.label, rows: rows}
}

// arguments are those of sluice bench, without the server.
func (l *workload) arguments(duration, warmup time.Duration) []string {
	args := strings.Fields(l.flags)
	if l.long {
		duration *= 4
	}
	if l.timed {
		args = append(args, "-time", duration.String(), "-warmup", warmup.String())
	}
	return args
}

// differences is how the sides are spoken to, or set, in ways of their own.
func (l *workload) differences() (text string) {
	for _, s := range l.sides {
		own := strings.Fields(s.flags)
		if s.scheme != "" {
			own = append(own, "-url "+s.scheme+"://...")
		}
		if own = append(own, s.env...); len(own) > 0 {
			text += fmt.Sprintf("; %s: `%s`", s.label, strings.Join(own, " "))
		}
	}
	if l.about != "" {
		text += "; " + l.about
	}
	if l.rounds != 0 {
		text += fmt.Sprintf("; %d rounds at most", l.rounds)
	}
	return text
}
