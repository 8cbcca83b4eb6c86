package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"sync/atomic"

	"sluice/gateway"
	"sluice/gateway/admin"
	"sluice/store"
)

// running is the gateway at work.
type running struct {
	// Set once.
	environ map[string]string // of the process
	srv     *gateway.Server
	db      *store.DB
	admin   *admin.Server
	bridges *fleet
	log     *slog.Logger
	level   *slog.LevelVar
	tls     *atomic.Pointer[tls.Config] // of the listeners, with the certificate in force
	ending  atomic.Bool                 // the gateway shuts down

	// In force. Owned by serve.
	settings *settings
}

// serve reads the settings again on each signal, until ctx ends.
func (g *running) serve(ctx context.Context, hangUp <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangUp:
			notify(g.environ, "RELOADING=1")
			g.reload(ctx)
			notify(g.environ, "READY=1")
		}
	}
}

// health is why the gateway does not do its work, nil if it does. Until it is ready it listens
// nowhere.
func (g *running) health() error {
	if g.ending.Load() {
		return errors.New("shutting down")
	}
	return g.db.Err()
}

// reload reads the settings again, and puts in force what may change while the gateway
// runs. With a fault nothing changes.
func (g *running) reload(ctx context.Context) {
	next, err := readSettings(g.environ)
	if err == nil {
		in := *g.settings
		in.Bridges, in.ForgetBridges = next.Bridges, next.ForgetBridges
		err = g.bridges.set(ctx, &in)
	}
	var wrong faults
	switch {
	case errors.As(err, &wrong):
		for _, f := range wrong {
			g.log.Error("not reloaded: nothing changes until this is mended", "variable", f.name, "fault", f.text, "at", f.at)
		}
		return
	case err != nil:
		g.log.Error("not reloaded", "err", err)
		return
	}
	g.bridges.start()
	s := g.settings
	s.Bridges, s.ForgetBridges, s.LogLevel = next.Bridges, next.ForgetBridges, next.LogLevel
	g.level.Set(s.LogLevel)
	if s.accounts != nil && next.accounts != nil {
		s.accounts = next.accounts
		g.srv.SetAccess(s.accounts)
	}
	if s.tls != nil && next.tls != nil {
		s.tls = next.tls
		g.tls.Store(s.tls)
	}
	for _, name := range s.fixed(next) {
		g.log.Warn("needs a restart: until then the old value is in force", "variable", name)
	}
	g.log.Info("reloaded")
}

// fixed names the variables that next has otherwise, and that do not change while the
// gateway runs.
func (s *settings) fixed(next *settings) (names []string) {
	x, y := reflect.ValueOf(s).Elem(), reflect.ValueOf(next).Elem()
	for i := range x.NumField() {
		field := x.Type().Field(i)
		name := prefix + field.Tag.Get("env")
		if !field.IsExported() || field.Tag.Get("env") == "-" || field.Tag.Get("reload") != "" || s.environ[name] == next.environ[name] {
			continue // a default may come out otherwise: that is no change
		}
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	return names
}
