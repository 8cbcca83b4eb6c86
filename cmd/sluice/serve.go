package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"sluice/bridge"
	"sluice/codec"
	"sluice/gateway"
	"sluice/gateway/transport"
	"sluice/store"
)

// serve is the gateway: its parts, built in order, until ctx ends. The log goes
// to stderr, the addresses of the listeners to stdout. It returns nil after an
// orderly end.
func serve(ctx context.Context, environ map[string]string, stdout, stderr io.Writer) (err error) {
	s, err := readSettings(environ)
	if err != nil {
		return err
	}
	log := s.logger(stderr)
	debug.SetMemoryLimit(int64(s.MemoryLimit))
	if environ["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}

	srv := gateway.New(s.gateway(log))
	db, err := store.Open(s.store(srv, log))
	if err != nil {
		return fmt.Errorf("%sDATA_DIR: %w", prefix, err)
	}
	defer func() { // what is staged gets on disk, last of all
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	if err := srv.Start(db); err != nil {
		return err
	}
	wires := transport.New(s.transport(log), srv)
	reports, err := s.bridges(wires, srv, log)
	if err != nil {
		return err
	}
	stopBridges := runBridges(reports, log)
	err = listen(s, wires, srv, stdout, log)
	if err == nil {
		notify(environ, "READY=1")
		log.Info("ready", "version", version(), "data", s.DataDir, "sync", s.StoreSync)
		<-ctx.Done()
		notify(environ, "STOPPING=1")
		log.Info("shutting down", "timeout", s.ShutdownTimeout)
	}

	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	wires.StopAccepting()
	stopBridges(end)
	srv.Shutdown(end)
	if cerr := wires.Close(end); cerr != nil {
		log.Warn("clients were cut off", "err", cerr)
	}
	return err
}

// runBridges runs bridges, and what reports of them, until the function it returns is
// called, which waits for them as long as its context lasts.
func runBridges(reports []*report, log *slog.Logger) (stop func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, r := range reports {
		reporting, end := context.WithCancel(context.Background())
		running.Go(func() {
			if err := r.bridge.Run(ctx); err != nil {
				log.Error("bridge ended", "bridge", r.bridge.ClientID(), "err", err)
			}
			end()
		})
		running.Go(func() { r.run(reporting) })
	}
	return func(end context.Context) {
		cancel()
		done := make(chan struct{})
		go func() {
			running.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-end.Done():
		}
	}
}

func (s *settings) logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: s.LogLevel}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func (s *settings) gateway(log *slog.Logger) gateway.Config {
	return gateway.Config{
		Access:           s.accounts,
		Anonymous:        s.AuthAnonymous,
		MaxPacketSize:    uint32(s.MaxPacketSize),
		MaxInflight:      s.MaxInflight,
		QueueMaxBytes:    int64(s.QueueMaxBytes),
		QueuePolicy:      gateway.Policy(s.QueuePolicy),
		MaxKeepAlive:     s.MaxKeepAlive,
		MaxSessionExpiry: s.MaxSessionExpiry,
		Batches:          gateway.Batches{Unpack: s.Batches, Dictionaries: s.batches},
		SN:               s.sn(),
		Log:              log,
	}
}

func (s *settings) sn() gateway.SN {
	return gateway.SN{
		GatewayID:   s.SNGatewayID,
		Advertise:   s.SNAdvertise,
		Predefined:  s.predefined,
		Anonymous:   s.SNAnonymous,
		Forwarders:  s.SNForwarders,
		Roaming:     s.SNRoaming,
		DTLSOnly:    s.SNDTLSOnly,
		Retry:       s.SNRetry,
		Retries:     s.SNRetries,
		MaxDatagram: int(s.SNMaxDatagram),
		MaxDevices:  s.SNMaxDevices,
		SleepBuffer: int(s.SNSleepBuffer),
	}
}

func (s *settings) store(srv *gateway.Server, log *slog.Logger) store.Config {
	return store.Config{
		Dir:       s.DataDir,
		Sync:      s.StoreSync,
		Linger:    max(s.StoreLinger, time.Nanosecond), // 0 would be the store's default
		MaxBytes:  int64(s.StoreMaxBytes),
		Together:  srv.Together(),
		Committed: srv.Committed,
		Failed:    srv.Failed,
		Log:       log,
	}
}

func (s *settings) transport(log *slog.Logger) transport.Config {
	return transport.Config{
		Proxies:  s.ProxyFrom,
		MaxConns: s.MaxConnections,
		Log:      log,
	}
}

// bridges makes the bridges, with their sessions in the gateway, and their reports.
func (s *settings) bridges(wires *transport.Transport, srv *gateway.Server, log *slog.Logger) ([]*report, error) {
	var all []*report
	for i := range s.Bridges {
		b := &s.Bridges[i]
		r := newReport(srv, b.Name)
		c := b.config(s, wires, log)
		c.Changed = r.wake
		c.Lost = func(cause string, topic []byte) { srv.Lost(r.bridge.ClientID(), cause, topic) }
		var err error
		if r.bridge, err = bridge.New(c); err != nil {
			return nil, err
		}
		all = append(all, r)
		srv.Provision(r.bridge.ClientID(), r.bridge.Subscriptions(), r.bridge.EndToEnd()...)
		srv.Limit(r.bridge.ClientID(), gateway.Limits{
			MaxBytes:      int64(b.QueueMaxBytes),
			MaxMessages:   b.QueueMaxMessages,
			MaxAge:        b.QueueMaxAge,
			Policy:        gateway.Policy(*b.QueuePolicy),
			DrainMessages: b.DrainMessages,
			DrainBytes:    int64(b.DrainBytes),
			Lost:          r.wake,
		})
	}
	return all, nil
}

func (b *bridgeSettings) config(s *settings, wires *transport.Transport, log *slog.Logger) bridge.Config {
	c := bridge.Config{
		Name:            b.Name,
		Failback:        b.Failback,
		Redirect:        b.Redirect,
		File:            filepath.Join(s.DataDir, "bridge-"+url.PathEscape(b.Name)+".json"),
		ClientID:        b.ClientID,
		Username:        b.Username,
		TLS:             b.tls,
		Up:              b.Up,
		Down:            b.Down,
		UpPrefix:        b.UpPrefix,
		DownPrefix:      b.DownPrefix,
		MaxHops:         b.MaxHops,
		BatchDictionary: b.batch,
		BatchUnasked:    b.BatchUnasked,
		KeepAlive:       b.KeepAlive.Duration,
		AutoKeepAlive:   b.KeepAlive.auto,
		AckTimeout:      b.AckTimeout,
		Extensions:      b.Extensions,
		MaxInflight:     b.MaxInflight,
		MaxPacketSize:   uint32(s.MaxPacketSize),
		Dial:            wires.Dial,
		Log:             log,
	}
	c.Token, c.TokenLife = b.token, b.TokenLife
	c.Version, c.MaxQoS = codec.Version(b.Version), byte(b.MaxQoS)
	c.MaxUpSize, c.MaxTopic, c.MaxLevels = uint32(b.MaxUpSize), int(b.MaxTopic), int(b.MaxLevels)
	c.Path = bridge.Path{
		Proxy:         b.proxy,
		ProxyUsername: b.ProxyUsername,
		ProxyPassword: []byte(b.ProxyPassword),
		Interface:     b.Interface,
		Source:        b.SourceAddr,
	}
	if len(b.urls) > 0 {
		c.URL, c.Others = b.urls[0], b.urls[1:]
	}
	if c.Failback == 0 {
		c.Failback = -1
	}
	if b.Password != "" {
		c.Password = []byte(b.Password)
	}
	return c
}
