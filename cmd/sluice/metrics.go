package main

import (
	"slices"

	"sluice/bridge"
	"sluice/gateway"
	"sluice/gateway/admin"
	"sluice/store"
)

// figures are what the gateway measures, at the moment of a scrape.
type figures struct {
	gateway gateway.Stats
	store   store.Stats
	failing error // what the store says
	bridges []bridgeFigures
}

type bridgeFigures struct {
	name string
	bridge.Status
	gateway.Backlog
	lost map[string]uint64 // by cause
}

// metrics are all there is to measure, but what the process takes. A name stays what it is
// once it is released: dashboards and alerts hang on it. What can be counted is there from
// the start, as 0, so that the first step is seen.
var metrics = []admin.Metric[figures]{
	admin.Gauge("sluice_build_info", "Version of Sluice.", func(_ *figures, s *admin.Samples) { s.Add(1, "version", version()) }),

	admin.Counter("sluice_connections_total", "Connections accepted.", one(func(f *figures) uint64 { return f.gateway.Connections })),
	admin.Counter("sluice_connections_ended_total", "Connections that the gateway ended, by reason code.", func(f *figures, s *admin.Samples) {
		for reason, n := range f.gateway.Ended.All() {
			s.Add(float64(n), "reason", reason)
		}
	}),
	admin.Gauge("sluice_clients", "Clients connected now, devices of MQTT-SN and bridges among them.", one(func(f *figures) int64 { return f.gateway.Connected })),
	admin.Gauge("sluice_sessions", "Sessions, with those whose clients are away.", one(func(f *figures) int64 { return f.gateway.Sessions })),
	admin.Gauge("sluice_subscriptions", "Subscriptions of all sessions.", one(func(f *figures) int64 { return f.gateway.Subscriptions })),
	admin.Gauge("sluice_retained_messages", "Topics with a retained message.", one(func(f *figures) int { return f.gateway.Retained })),
	admin.Counter("sluice_packets_received_total", "MQTT packets from clients, and from bridges, which release all identifiers where an upstream has begun a new session.", one(func(f *figures) uint64 { return f.gateway.PacketsIn })),
	admin.Counter("sluice_messages_received_total", "Messages published to the gateway, by bridges too.", one(func(f *figures) uint64 { return f.gateway.MessagesIn })),
	admin.Counter("sluice_messages_sent_total", "Messages sent to subscribers, to bridges too, again ones included.", one(func(f *figures) uint64 { return f.gateway.MessagesOut })),
	admin.Counter("sluice_messages_dropped_total", "Messages not delivered, once for each recipient, by reason.", func(f *figures, s *admin.Samples) {
		for reason, n := range f.gateway.Dropped.All() {
			s.Add(float64(n), "reason", reason)
		}
	}),
	admin.Counter("sluice_wills_total", "Will messages published.", one(func(f *figures) uint64 { return f.gateway.Wills })),
	admin.Counter("sluice_datagrams_discarded_total", "Datagrams of MQTT-SN that nothing was done with: bad ones, and of strangers beyond the rate at which those are answered.", func(f *figures, s *admin.Samples) {
		s.Add(float64(f.gateway.Datagrams.Bad), "reason", "bad")
		s.Add(float64(f.gateway.Datagrams.Unanswered), "reason", "unanswered")
	}),

	admin.Gauge("sluice_store_failing", "1 while the disk cannot be written or is about full, and nothing is acknowledged that should be on it.", one(func(f *figures) int { return truth(f.failing != nil) })),
	admin.Gauge("sluice_store_bytes", "What is stored, as it counts against the limit.", one(func(f *figures) int64 { return f.store.Bytes })),
	admin.Gauge("sluice_store_limit_bytes", "SLUICE_STORE_MAX_BYTES.", one(func(f *figures) int64 { return f.store.MaxBytes })),
	admin.Counter("sluice_store_commits_total", "Batches written to the disk.", one(func(f *figures) uint64 { return f.store.Commits })),
	admin.Counter("sluice_store_compactions_total", "How often the file of the store was written anew.", one(func(f *figures) uint64 { return f.store.Compactions })),
	admin.Histogram("sluice_store_fsync_seconds", "How long the disk took to say that something is on it.", func(f *figures, s *admin.Samples) {
		s.AddDurations(store.FsyncBounds[:], f.store.Fsyncs.Buckets[:], f.store.Fsyncs.Sum)
	}),

	admin.Gauge("sluice_bridge_connected", "1 while the bridge is connected.", ofBridge(func(b *bridgeFigures) int { return truth(b.Connected) })),
	admin.Gauge("sluice_bridge_paused", "1 while the bridge is paused.", ofBridge(func(b *bridgeFigures) int { return truth(b.Paused) })),
	admin.Gauge("sluice_bridge_changed_timestamp_seconds", "When the bridge connected or was disconnected last.", func(f *figures, s *admin.Samples) {
		for i := range f.bridges {
			if b := &f.bridges[i]; !b.Since.IsZero() {
				s.AddTime(b.Since, "bridge", b.name)
			}
		}
	}),
	admin.Counter("sluice_bridge_connects_total", "Connections of the bridge to its upstream.", ofBridge(func(b *bridgeFigures) int64 { return b.Connects })),
	admin.Gauge("sluice_bridge_keep_alive_seconds", "Keep-alive in force, 0 while not connected.", ofBridge(func(b *bridgeFigures) float64 { return b.KeepAlive.Seconds() })),
	admin.Gauge("sluice_bridge_window", "Messages at QoS 1 and 2 that may be under way up, 0 while not connected.", ofBridge(func(b *bridgeFigures) float64 { return float64(b.Window) })),
	admin.Gauge("sluice_bridge_backlog_messages", "Messages that wait to go up, those in flight included.", ofBridge(func(b *bridgeFigures) int { return b.Messages })),
	admin.Gauge("sluice_bridge_backlog_bytes", "Their bytes.", ofBridge(func(b *bridgeFigures) int64 { return b.Bytes })),
	admin.Gauge("sluice_bridge_backlog_age_seconds", "How long the oldest of them has waited, since the start at most.", ofBridge(func(b *bridgeFigures) float64 { return b.Oldest.Seconds() })),
	admin.Gauge("sluice_bridge_in_flight_messages", "Messages on their way up that the upstream has not acknowledged to the end.", ofBridge(func(b *bridgeFigures) int { return b.InFlight })),
	admin.Counter("sluice_bridge_messages_up_total", "Messages handed to the upstream, again ones included.", ofBridge(func(b *bridgeFigures) int64 { return b.Up })),
	admin.Counter("sluice_bridge_messages_down_total", "Messages of the upstream handed to the gateway, again ones included.", ofBridge(func(b *bridgeFigures) int64 { return b.Down })),
	admin.Counter("sluice_bridge_messages_lost_total", "Messages that should have gone up and did not, by cause.", func(f *figures, s *admin.Samples) {
		for i := range f.bridges {
			for _, cause := range lossCauses {
				s.Add(float64(f.bridges[i].lost[cause]), "bridge", f.bridges[i].name, "cause", cause)
			}
		}
	}),
	admin.Counter("sluice_bridge_batches_total", "Publishes in which several messages went up.", ofBridge(func(b *bridgeFigures) int64 { return b.Batches })),
	admin.Counter("sluice_bridge_messages_lowered_total", "Messages sent up at a lower QoS than they have, the upstream's highest.", ofBridge(func(b *bridgeFigures) int64 { return b.Lowered })),
	admin.Counter("sluice_bridge_messages_unretained_total", "Messages sent up without their RETAIN, which the upstream does not have.", ofBridge(func(b *bridgeFigures) int64 { return b.Unretained })),
	admin.Counter("sluice_bridge_messages_refused_total", "Messages that the upstream refused.", ofBridge(func(b *bridgeFigures) int64 { return b.Refused })),
	admin.Counter("sluice_bridge_messages_too_large_total", "Messages dropped because the other side takes no packets so large, both ways.", ofBridge(func(b *bridgeFigures) int64 { return b.TooLarge })),
	admin.Counter("sluice_bridge_messages_unnamed_total", "Messages dropped because the rules give them a topic that is empty, too long or too deep, both ways.", ofBridge(func(b *bridgeFigures) int64 { return b.Unnamed })),
	admin.Counter("sluice_bridge_messages_circled_total", "Messages dropped because they had passed too many bridges, both ways.", ofBridge(func(b *bridgeFigures) int64 { return b.Circled })),
	admin.Counter("sluice_bridge_messages_echoed_total", "Messages of the upstream dropped because they are what went up.", ofBridge(func(b *bridgeFigures) int64 { return b.Echoed })),
	admin.Counter("sluice_bridge_messages_declined_total", "Messages of the upstream that the gateway refused.", ofBridge(func(b *bridgeFigures) int64 { return b.Declined })),
	admin.Counter("sluice_bridge_messages_unanswerable_total", "Messages whose response topic no rule brings back.", ofBridge(func(b *bridgeFigures) int64 { return b.Unanswerable })),
}

// lossCauses are those of the gateway, and of the bridge where it has others.
var lossCauses = slices.Compact(slices.Sorted(slices.Values(slices.Concat(gateway.LossCauses, bridge.LossCauses))))

type number interface {
	~int | ~int64 | ~uint64 | ~float64
}

// one is a figure of the gateway.
func one[N number](of func(*figures) N) func(*figures, *admin.Samples) {
	return func(f *figures, s *admin.Samples) { s.Add(float64(of(f))) }
}

// ofBridge is a figure of each bridge.
func ofBridge[N number](of func(*bridgeFigures) N) func(*figures, *admin.Samples) {
	return func(f *figures, s *admin.Samples) {
		for i := range f.bridges {
			s.Add(float64(of(&f.bridges[i])), "bridge", f.bridges[i].name)
		}
	}
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// measure writes the page of metrics.
func (g *running) measure(p *admin.Page) { admin.Write(p, metrics, g.figures()) }

// figures reads what there is now. It waits for short locks only.
func (g *running) figures() *figures {
	f := &figures{gateway: g.srv.Stats(), store: g.db.Stats(), failing: g.db.Err()}
	for _, r := range g.bridges.told.list() {
		losses, _ := g.srv.Losses(r.bridge.ClientID())
		f.bridges = append(f.bridges, bridgeFigures{r.bridge.Name(), r.bridge.Status(), g.srv.Backlog(r.bridge.ClientID()), losses.Causes})
	}
	return f
}
