package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"sluice/codec"
	"sluice/firmware-tests/device"
	"sluice/firmware-tests/rig"
)

const (
	sensors    = 20
	interval   = 50 * time.Millisecond // between two messages of a sensor
	window     = 50                    // unfinished messages of a sensor
	setupLimit = 30 * time.Second
)

// stage is who plays.
type stage struct {
	gateway  *rig.Gateway
	cluster  *rig.Cluster
	line     *rig.Proxy
	victim   *rig.Node // carries the bridge until it is killed
	ledger   device.Ledger
	fleet    []*device.Sensor
	consumer *device.Consumer
	screen   *screen
	players  sync.WaitGroup
}

// run plays the plan and returns the count. The gateway's log is left in logFile
// unless that is empty.
func run(ctx context.Context, plan plan, screen *screen, logFile string) (*result, error) {
	dir, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &stage{screen: screen}
	defer s.end()
	if logFile != "" {
		defer func() { _ = os.WriteFile(logFile, []byte(s.gateway.Log.String()), 0o644) }()
	}
	begun := time.Now()
	if err := s.set(ctx, dir); err != nil {
		return nil, err
	}
	show, stopShow := context.WithCancel(ctx)
	defer stopShow()
	go screen.follow(show, &s.ledger)
	if err := s.play(ctx, plan); err != nil {
		return nil, err
	}
	stopShow()
	cancel()
	s.players.Wait()
	return s.count(time.Since(begun)), nil
}

// end ends all processes.
func (s *stage) end() {
	if s.line != nil {
		s.line.Close()
	}
	if s.gateway != nil && s.gateway.Process != nil {
		s.gateway.Kill()
	}
	if s.cluster != nil {
		s.cluster.Kill()
	}
}

// set starts everything, the sensors last.
func (s *stage) set(ctx context.Context, dir string) (err error) {
	s.screen.say("building the gateway and nats-server (the first time takes a minute)")
	if s.gateway, err = rig.NewGateway(filepath.Join(dir, "gateway")); err != nil {
		return err
	}
	if _, err = rig.BuildNATS(); err != nil {
		return err
	}
	s.screen.say("starting a cluster of three nats-server nodes")
	if s.cluster, err = rig.StartCluster(dir); err != nil {
		return err
	}
	home, err := s.subscribe(ctx)
	if err != nil {
		return err
	}
	var others []string
	for _, n := range s.cluster.Nodes {
		if n != home {
			others = append(others, n.MQTT)
			if s.victim == nil {
				s.victim = n
			}
		}
	}
	if s.line, err = rig.NewProxy(others...); err != nil {
		return err
	}
	s.gateway.Set("SLUICE_BRIDGE_0_URL", "mqtt://"+s.line.Addr)
	s.gateway.Set("SLUICE_BRIDGE_0_UP", "sensors/# 2")
	s.screen.say("starting the gateway, its bridge goes to %s", s.victim.Name)
	if err = s.gateway.Start(); err != nil {
		return err
	}
	if err := await(ctx, "the bridge to connect", func() bool { return s.line.Carried() != "" }); err != nil {
		return fmt.Errorf("%w\n%s", err, s.gateway.Log.Tail(20))
	}
	s.fleet = device.Fleet(sensors, func(d *device.Sensor) {
		d.Addr, d.Topic, d.Interval, d.Window = s.gateway.Addr, "sensors", interval, window
		d.Ledgers = []*device.Ledger{&s.ledger}
	})
	for _, d := range s.fleet {
		s.players.Go(func() { d.Run(ctx) })
	}
	s.screen.say("%d sensors publish, half at QoS 1, half at QoS 2", sensors)
	return nil
}

// subscribe brings the consumer to the node that leads the cluster, and the lead
// of all streams with it: the loss of a node is to show the gateway's faults, not
// nats-server's. Each node has served a client before, as in a cluster in use.
func (s *stage) subscribe(ctx context.Context) (home *rig.Node, err error) {
	if home, err = s.cluster.Leader(); err != nil {
		return nil, err
	}
	s.consumer = &device.Consumer{Name: "center", Addr: home.MQTT, Filter: "sensors/#", Version: codec.V311, Ledger: &s.ledger}
	for _, n := range s.cluster.Nodes {
		visit := func() bool {
			_, err := device.Visit(n.MQTT, "visitor", codec.V311)
			return err == nil
		}
		if err := await(ctx, n.Name+" to serve MQTT", visit); err != nil {
			return nil, err
		}
	}
	running := ctx
	s.players.Go(func() { s.consumer.Run(running) })
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	select {
	case <-s.consumer.Subscribed():
	case <-ctx.Done():
		return nil, fmt.Errorf("the consumer cannot subscribe at %s: %w", home.Name, ctx.Err())
	}
	return home, home.LeadAll(ctx)
}

// play is the schedule.
func (s *stage) play(ctx context.Context, plan plan) error {
	pause(ctx, plan.steady)

	s.screen.say("the line to the cluster is cut")
	s.line.Cut()
	pause(ctx, plan.kill)
	s.screen.say("the gateway is killed with SIGKILL")
	s.gateway.Kill()
	pause(ctx, plan.down)
	if ctx.Err() == nil {
		if err := s.gateway.Start(); err != nil {
			return err
		}
		s.screen.say("the gateway is back")
	}
	pause(ctx, plan.cut-plan.kill-plan.down)
	s.screen.say("the line heals")
	s.line.Heal()
	pause(ctx, plan.steady)

	s.screen.say("%s is killed with SIGKILL", s.victim.Name)
	s.victim.Kill()
	pause(ctx, plan.steady)

	s.screen.say("the sensors stop, what is under way arrives")
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := device.Drain(ctx, plan.drained, s.fleet, &s.ledger); err != nil {
		s.screen.say("%v", err) // the count tells the rest
	}
	pause(ctx, 500*time.Millisecond) // for duplicates to show themselves
	return ctx.Err()
}

// await polls until a condition holds.
func await(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, setupLimit)
	defer cancel()
	for !holds() {
		pause(ctx, 50*time.Millisecond)
		if ctx.Err() != nil {
			return fmt.Errorf("wait for %s: %w", what, ctx.Err())
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
