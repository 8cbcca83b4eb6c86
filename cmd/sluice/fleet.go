package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/bridge"
	"sluice/gateway"
	"sluice/gateway/transport"
)

// fleet is the bridges at work. Not safe for concurrent use.
type fleet struct {
	// Set once.
	srv   *gateway.Server
	wires *transport.Transport
	told  *reports // the bridges that clients can tell what to do
	log   *slog.Logger

	bridges map[string]*atWork // by name
}

// atWork is a bridge of a fleet.
type atWork struct {
	settings bridgeSettings
	report   *report
	cancel   context.CancelFunc // nil until it is started
	running  sync.WaitGroup
}

func newFleet(srv *gateway.Server, wires *transport.Transport, told *reports, log *slog.Logger) *fleet {
	return &fleet{srv: srv, wires: wires, told: told, log: log, bridges: make(map[string]*atWork)}
}

// set brings the bridges to what s says. One that s has as before is not touched. With an
// error none is. A new one has its session in the gateway from here on, and can be told what
// to do; start has it connect.
//
// What waits in the gateway belongs to the name: a bridge that is changed goes on with it, or
// one that is called otherwise and is the same client of the same server, and that of one
// that is no more stays, until a bridge is called so again or s has it forgotten. Between
// two bridges of one name the gateway's session goes on, so nothing that is published
// meanwhile is missed.
func (f *fleet) set(ctx context.Context, s *settings) error {
	wanted := make(map[string]*bridgeSettings)
	var wrong []error
	for i := range s.Bridges {
		b := &s.Bridges[i]
		wanted[b.Name] = b
		wrong = append(wrong, bridge.Check(b.config(s, f.wires, f.log)))
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	before := maps.Clone(f.bridges)
	f.end(ctx, (*atWork).leave, func(old *atWork) bool {
		b := wanted[old.settings.Name]
		return b == nil || !old.settings.same(b)
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.rename(s, wanted)
	for i := range s.Bridges {
		b := &s.Bridges[i]
		if f.bridges[b.Name] != nil {
			continue
		}
		w, err := f.prepare(s, b)
		if err != nil {
			return err
		}
		f.bridges[b.Name] = w
		f.told.add(w.report)
	}
	f.retire(s)
	f.tell(before)
	return nil
}

// start starts what set has made. Until then nothing is sent to an upstream: a gateway that
// cannot start does not take the session there from the one that runs.
func (f *fleet) start() {
	for _, name := range slices.Sorted(maps.Keys(f.bridges)) {
		if w := f.bridges[name]; w.cancel == nil {
			w.start(f.log)
		}
	}
}

// rename has a bridge that was called otherwise go on with what waits for it: as the same
// client of the same server it has the session there, which knows nothing of another.
func (f *fleet) rename(s *settings, wanted map[string]*bridgeSettings) {
	there := f.srv.Provisioned()
	for _, id := range slices.Sorted(maps.Keys(there)) {
		old, ours := strings.CutPrefix(id, bridge.ClientPrefix)
		if !ours || wanted[old] != nil || slices.Contains(s.ForgetBridges, old) {
			continue
		}
		for i := range s.Bridges {
			b := &s.Bridges[i]
			other := bridge.ClientPrefix + b.Name
			if _, is := there[other]; is || !bridge.Continues(bridgeFile(s, old), b.config(s, f.wires, f.log)) {
				continue
			}
			f.srv.Rename(id, other)
			there[other] = there[id]
			if err := os.Rename(bridgeFile(s, old), bridgeFile(s, b.Name)); err != nil {
				f.log.Warn("what is known of the servers is lost", "bridge", b.Name, "error", err)
			}
			newReport(f.srv, old).clear()
			f.log.Info("bridge is called otherwise, and goes on", "bridge", b.Name, "before", old, "waiting", there[id])
			break
		}
	}
}

// prepare makes a bridge, and its session in the gateway. The last one of its name has
// ended: what that knew of its servers is in its file.
func (f *fleet) prepare(s *settings, b *bridgeSettings) (*atWork, error) {
	w := &atWork{settings: *b, report: newReport(f.srv, b.Name)}
	c := b.config(s, f.wires, f.log)
	c.Changed = w.report.wake
	c.Lost = func(cause string, topic []byte, id uint16) {
		f.srv.Lost(w.report.bridge.ClientID(), cause, topic, id)
	}
	c.Window = func(n uint16) { f.srv.SetReceiveMaximum(bridge.ClientPrefix+b.Name, n) }
	made, err := bridge.New(c)
	if err != nil {
		return nil, err
	}
	w.report.bridge, w.report.fixed = made, b.Paused
	switch {
	case b.Paused:
		made.Pause(bySettings)
	case f.srv.Kept(made.ClientID()) == pausedNote:
		made.Pause(byClient)
	}
	f.srv.Provision(made.ClientID(), made.Subscriptions(), made.EndToEnd()...)
	f.srv.Limit(made.ClientID(), gateway.Limits{
		MaxBytes:      int64(b.QueueMaxBytes),
		MaxMessages:   b.QueueMaxMessages,
		MaxAge:        b.QueueMaxAge,
		Policy:        gateway.Policy(*b.QueuePolicy),
		DrainMessages: b.DrainMessages,
		DrainBytes:    int64(b.DrainBytes),
		LiveFirst:     b.LiveFirst,
		Lost:          w.report.wake,
	})
	return w, nil
}

// start runs the bridge, which may be paused, and what reports of it.
func (w *atWork) start(log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	reporting, end := context.WithCancel(context.Background())
	if by := w.report.now().PausedBy; by != "" {
		log.Info("bridge is paused, what is to go up waits", "bridge", w.settings.Name, "by", by)
	}
	w.running.Go(func() {
		defer end()
		if err := w.report.bridge.Run(ctx); err != nil {
			log.Error("bridge ended", "bridge", w.settings.Name, "err", err)
		}
	})
	w.running.Go(func() { w.report.run(reporting) })
}

// leave ends a bridge whose upstream may not see it again: what is under way goes there
// first, if it is connected.
func (w *atWork) leave(ctx context.Context) {
	defer w.cancel()
	if !w.report.bridge.Status().Connected {
		return
	}
	w.report.bridge.Finish()
	done := make(chan struct{})
	go func() { w.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
	case <-ctx.Done():
	}
}

// end ends the bridges that are chosen, and waits for them as long as ctx lasts.
func (f *fleet) end(ctx context.Context, end func(*atWork, context.Context), chosen func(*atWork) bool) {
	var ending []*atWork
	for name, w := range f.bridges {
		if !chosen(w) {
			continue
		}
		delete(f.bridges, name)
		f.told.remove(w.report)
		if w.cancel != nil {
			go end(w, ctx)
			ending = append(ending, w)
		}
	}
	done := make(chan struct{})
	go func() {
		for _, w := range ending {
			w.running.Wait()
		}
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// stop ends all.
func (f *fleet) stop(ctx context.Context) {
	f.end(ctx, func(w *atWork, _ context.Context) { w.cancel() }, func(*atWork) bool { return true })
}

// retire has nothing more wait for bridges that are no more, of this process or earlier
// ones, and drops what does where that is asked for.
func (f *fleet) retire(s *settings) {
	for id, waiting := range f.srv.Provisioned() {
		name, ours := strings.CutPrefix(id, bridge.ClientPrefix)
		switch {
		case !ours || f.bridges[name] != nil:
		case slices.Contains(s.ForgetBridges, name):
			f.srv.Forget(id)
			newReport(f.srv, name).clear()
			os.Remove(bridgeFile(s, name)) // it may not be there
			f.log.Info("bridge forgotten", "bridge", name, "dropped", waiting)
		default:
			f.srv.Provision(id, nil)
			newReport(f.srv, name).clear()
			if waiting > 0 {
				f.log.Warn("messages wait for a bridge that is no more: give a bridge its name to send them, or name it in "+prefix+"FORGET_BRIDGES to drop them",
					"bridge", name, "waiting", waiting)
			}
		}
	}
}

// tell tells the log what has changed.
func (f *fleet) tell(before map[string]*atWork) {
	if len(before)+len(f.bridges) == 0 {
		return
	}
	var added, changed, removed []string
	for _, name := range slices.Sorted(maps.Keys(f.bridges)) {
		switch old := before[name]; {
		case old == nil:
			added = append(added, name)
		case old != f.bridges[name]:
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if f.bridges[name] == nil {
			removed = append(removed, name)
		}
	}
	f.log.Info("bridges set", "count", len(f.bridges), "added", added, "changed", changed, "removed", removed)
}

// same says whether b says the same of a bridge, but for the number in the variables' names.
func (b *bridgeSettings) same(other *bridgeSettings) bool {
	x, y := reflect.ValueOf(b).Elem(), reflect.ValueOf(other).Elem()
	for i := range x.NumField() {
		if x.Type().Field(i).IsExported() && !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return false
		}
	}
	return b.files == other.files
}
