package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"time"

	"sluice/bridge"
	"sluice/codec"
	"sluice/gateway"
	"sluice/gateway/admin"
	"sluice/gateway/transport"
	"sluice/store"
)

// serve is the gateway: its parts, built in order, until ctx ends. The log goes
// to stderr, the addresses of the listeners to stdout. On hangUp the settings are
// read again. It returns nil after an orderly end.
func serve(ctx context.Context, environ map[string]string, hangUp <-chan os.Signal, stdout, stderr io.Writer) (err error) {
	s, err := readSettings(environ)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	level.Set(s.LogLevel)
	log := s.logger(stderr, level)
	heap := new(heap)
	debug.SetMemoryLimit(int64(s.MemoryLimit))
	tuned := environ["GOGC"] == ""
	if tuned {
		heap.ballast = make([]byte, min(ballastSize, s.MemoryLimit/16)) // it counts for the limit
		debug.SetGCPercent(gcPercent)
	}

	var told reports
	srv := gateway.New(s.gateway(&told, log))
	db, err := store.Open(s.store(srv, heap, log))
	if err != nil {
		return fmt.Errorf("%sDATA_DIR: %w", prefix, err)
	}
	if tuned {
		heap.db.Store(db)
	}
	defer func() { // what is staged gets on disk, last of all
		if cerr := db.Close(); err == nil {
			err = cerr
		}
	}()
	srv.Start(db)
	wires := transport.New(s.transport(log), srv)
	g := &running{settings: s, environ: environ, srv: srv, db: db, log: log, level: level, tls: new(atomic.Pointer[tls.Config])}
	g.admin = admin.New(admin.Config{Ready: g.health, Metrics: g.measure, Log: log})
	g.bridges = newFleet(srv, wires, &told, log)
	g.tls.Store(s.tls)
	err = g.bridges.set(ctx, s)
	if err == nil {
		err = listen(g, wires, stdout)
	}
	if err == nil {
		g.bridges.start()
		notify(environ, "READY=1")
		log.Info("ready", "version", version(), "data", s.DataDir, "sync", s.StoreSync)
		g.serve(ctx, hangUp)
		g.ending.Store(true)
		notify(environ, "STOPPING=1")
		log.Info("shutting down", "timeout", s.ShutdownTimeout)
	}

	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.ShutdownTimeout)
	defer cancel()
	wires.StopAccepting()
	g.bridges.stop(end)
	srv.Shutdown(end)
	if cerr := wires.Close(end); cerr != nil {
		log.Warn("clients were cut off", "err", cerr)
	}
	g.admin.Close(end)
	return err
}

func (s *settings) logger(w io.Writer, level slog.Leveler) *slog.Logger {
	opts := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

func (s *settings) gateway(told *reports, log *slog.Logger) gateway.Config {
	return gateway.Config{
		Control:          told.control,
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
		DTLSOnly:    s.SNDTLSOnly.bytes(),
		Retry:       s.SNRetry,
		Retries:     s.SNRetries,
		MaxDatagram: int(s.SNMaxDatagram),
		MaxDevices:  s.SNMaxDevices,
		SleepBuffer: int(s.SNSleepBuffer),
	}
}

func (s *settings) store(srv *gateway.Server, heap *heap, log *slog.Logger) store.Config {
	committed := func(epoch uint64) {
		srv.Committed(epoch)
		heap.committed()
	}
	return store.Config{
		Dir:       s.DataDir,
		Sync:      s.StoreSync,
		Linger:    max(s.StoreLinger, time.Nanosecond), // 0 would be the store's default
		MaxBytes:  int64(s.StoreMaxBytes),
		Together:  srv.Together(),
		Committed: committed,
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

// bridgeFile is where a bridge writes down what it knows of its servers.
func bridgeFile(s *settings, name string) string {
	return filepath.Join(s.DataDir, "bridge-"+url.PathEscape(name)+".json")
}

func (b *bridgeSettings) config(s *settings, wires *transport.Transport, log *slog.Logger) bridge.Config {
	c := bridge.Config{
		Name:            b.Name,
		Failback:        b.Failback,
		Redirect:        b.Redirect,
		File:            bridgeFile(s, b.Name),
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
