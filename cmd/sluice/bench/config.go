package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net/url"
	"time"

	"sluice/codec"
)

// Config is what load to put on which server. Flags sets the defaults.
type Config struct {
	Scenario string
	URL      *url.URL      // mqtt, mqtts, ws, wss or unix
	TLS      *tls.Config   // for mqtts and wss
	Connect  codec.Connect // as all clients say it; its ClientID is the front part of theirs
	Live     io.Writer     // a terminal that is shown how it goes; nil is none

	QoS      byte
	Size     int // bytes of payload
	Topic    string
	User     int  // user properties on each message, MQTT 5
	Alias    bool // topic aliases, MQTT 5
	N        int  // messages of each publisher
	Time     time.Duration
	Warmup   time.Duration
	Rate     float64 // a second
	Inflight int
	Window   int
	Burst    int
	Pubs     int
	Subs     int
	Pairs    int
	Conns    int
	Sub      bool
	Hold     time.Duration
	Parallel int
	Share    string
	Durable  bool // the subscribers' sessions outlive their connections
	Clean    bool

	Threads  int
	Spin     bool
	Coalesce time.Duration
	Quiet    time.Duration
	Limit    time.Duration
	PID      int
	Label    string
}

// ErrUnreachable is what Run's error wraps when there is no server to talk to.
var ErrUnreachable = errors.New("the server cannot be reached")

// scenarios are the kinds of load.
var scenarios = map[string]func(*run) error{
	"fanin":    (*run).flow,
	"fanout":   (*run).flow,
	"pairs":    (*run).flow,
	"conns":    (*run).idle,
	"retained": (*run).retained,
	"offline":  (*run).offline,
}

// Flags defines the flags of a scenario, which set c.
func (c *Config) Flags(f *flag.FlagSet, scenario string) error {
	if _, ok := scenarios[scenario]; !ok {
		return fmt.Errorf("there is no scenario %q: fanin, fanout, pairs, conns, retained or offline", scenario)
	}
	pubs := 50
	if scenario == "offline" {
		pubs = 1
	}
	c.Scenario = scenario
	f.Func("qos", "", func(text string) error {
		if len(text) != 1 || text[0] < '0' || text[0] > '2' {
			return errors.New("QoS is 0, 1 or 2")
		}
		c.QoS = text[0] - '0'
		return nil
	})
	f.IntVar(&c.Size, "size", 64, "")
	f.StringVar(&c.Topic, "topic", "bench", "")
	f.IntVar(&c.User, "user", 0, "")
	f.BoolVar(&c.Alias, "alias", false, "")
	f.IntVar(&c.N, "n", 10000, "")
	f.DurationVar(&c.Time, "time", 0, "")
	f.DurationVar(&c.Warmup, "warmup", 0, "")
	f.Float64Var(&c.Rate, "rate", 0, "")
	f.IntVar(&c.Inflight, "inflight", 32, "")
	f.IntVar(&c.Window, "window", 0, "")
	f.IntVar(&c.Burst, "burst", 1, "")
	f.IntVar(&c.Pubs, "pubs", pubs, "")
	f.IntVar(&c.Subs, "subs", 1, "")
	f.IntVar(&c.Pairs, "pairs", 50, "")
	f.IntVar(&c.Conns, "conns", 1000, "")
	f.BoolVar(&c.Sub, "sub", true, "")
	f.DurationVar(&c.Hold, "hold", 2*time.Second, "")
	f.IntVar(&c.Parallel, "parallel", 100, "")
	f.StringVar(&c.Share, "share", "", "")
	f.BoolVar(&c.Durable, "durable", false, "")
	f.BoolVar(&c.Clean, "clean", true, "")
	f.IntVar(&c.Threads, "threads", 1, "")
	f.BoolVar(&c.Spin, "spin", false, "")
	f.DurationVar(&c.Coalesce, "coalesce", 0, "")
	f.DurationVar(&c.Quiet, "quiet", 5*time.Second, "")
	f.DurationVar(&c.Limit, "limit", 2*time.Minute, "")
	f.IntVar(&c.PID, "pid", 0, "")
	f.StringVar(&c.Label, "label", "", "")
	return nil
}

// Check says what is wrong with c, and fits what depends on other flags.
func (c *Config) Check() error {
	for _, one := range []struct {
		flag string
		n    int
	}{
		{"n", c.N}, {"inflight", c.Inflight}, {"burst", c.Burst}, {"pubs", c.Pubs}, {"subs", c.Subs}, {"pairs", c.Pairs},
		{"conns", c.Conns}, {"parallel", c.Parallel}, {"threads", c.Threads},
	} {
		if one.n < 1 || one.n > math.MaxInt32 {
			return fmt.Errorf("-%s is 1 at least", one.flag)
		}
	}
	switch {
	case c.Size < stampSize || c.Size > maxPayload:
		return fmt.Errorf("-size is %d to %d bytes", stampSize, maxPayload)
	case c.Rate < 0 || c.Window < 0 || c.User < 0 || c.User > 100:
		return errors.New("-rate and -window are 0 at least, -user is 0 to 100")
	case c.Time < 0 || c.Warmup < 0 || c.Hold < 0 || c.Coalesce < 0 || c.Quiet <= 0 || c.Limit <= 0:
		return errors.New("times are above 0")
	case c.Connect.Version != codec.V5 && (c.User > 0 || c.Alias):
		return errors.New("-user and -alias are of MQTT 5: -V 5")
	case c.Scenario == "offline" && c.QoS == 0:
		return errors.New("offline needs -qos 1 or 2: at QoS 0 nothing waits")
	case c.Share != "" && c.Threads > 1:
		return errors.New("-share needs -threads 1")
	}
	if err := codec.ValidTopic([]byte(c.Topic + "/")); err != nil {
		return fmt.Errorf("-topic: %s", err.Text)
	}
	if err := codec.ValidFilter([]byte("$share/" + c.Share + "/a")); c.Share != "" && err != nil {
		return fmt.Errorf("-share: %s", err.Text)
	}
	// A burst fits into half a window, or there would be pauses.
	if c.QoS > 0 {
		c.Burst = min(c.Burst, max(1, c.Inflight/2))
	}
	if c.Window > 0 {
		c.Burst = min(c.Burst, max(1, c.Window/2))
	}
	return nil
}

// Run puts the load on the server and ends by itself, after the limit at the
// latest, or soon after ctx does. The report is of use even with an error, and is
// then what was measured up to it.
func Run(ctx context.Context, c *Config) (*Report, error) {
	report := newReport(c)
	if err := c.Check(); err != nil {
		return report, err
	}
	r, err := newRun(ctx, c, report)
	if err != nil {
		return report, err
	}
	defer r.close()
	stop := context.AfterFunc(ctx, r.interrupt)
	defer stop()
	showDone := r.show()
	err = scenarios[c.Scenario](r)
	showDone()
	if err != nil {
		report.note("failed: %v", err)
	}
	return report, err
}
