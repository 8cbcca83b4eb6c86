package batch

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice/codec"
	"sluice/firmware-tests/plant"
)

// A message in a batch that the upstream does not allow is refused by itself: its publisher
// is told if it waits for the upstream, and else the report of losses tells.
func TestRefusedInPart(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(users, []byte("*\n    write site7/sluice-batch\n    write site7/sensors/#\n    read #\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	center := plant.Gateway(t, "SLUICE_BATCHES=true", "SLUICE_AUTH_ANONYMOUS=true", "SLUICE_USERS_FILE="+users)
	site := plant.Gateway(t, "SLUICE_BRIDGE_0_URL=mqtt://"+center.Addr, "SLUICE_BRIDGE_0_UP_PREFIX=site7/",
		"SLUICE_BRIDGE_0_UP=waited/# 1 batch=100ms ack=upstream,# 1 batch=100ms")
	plant.AwaitLog(t, site, 1, plant.Connected)
	sub, pub := dial(t, center.Addr, "sub"), dial(t, site.Addr, "pub")
	sub.send((&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("site7/#")}}}).Append(nil, codec.V5))
	sub.next()
	var out []byte
	for i, topic := range []string{"waited/1", "sensors/1", "elsewhere/1", "sensors/2"} {
		out = (&codec.Publish{ID: uint16(i + 1), Message: codec.Message{Topic: []byte(topic), QoS: 1}}).Append(out, codec.V5)
	}
	pub.send(out)
	for _, want := range []string{"site7/sensors/1", "site7/sensors/2"} {
		if got, ok := sub.next().(*codec.Publish); !ok || string(got.Topic) != want {
			t.Fatalf("got %+v, want %s", got, want)
		}
	}
	for range 4 {
		ack, ok := pub.next().(*codec.Puback)
		if !ok || (ack.Code == codec.NotAuthorized) != (ack.ID == 1) {
			t.Errorf("%+v answers a message, of which only the first is refused to its publisher", ack)
		}
	}
	pub.send((&codec.Subscribe{ID: 1, Subscriptions: []codec.Subscription{{Filter: []byte("$SYS/bridge/+/losses")}}}).Append(nil, codec.V5))
	pub.next()
	for { // reports come as losses do
		report, ok := pub.next().(*codec.Publish)
		if !ok {
			t.Fatalf("%+v instead of a report", report)
		}
		if text := string(report.Payload); strings.Contains(text, `"refused":2`) {
			if !strings.Contains(text, `"waited/1":1`) || !strings.Contains(text, `"elsewhere/1":1`) {
				t.Errorf("the report does not say of which topics: %s", text)
			}
			break
		}
	}
	if n := strings.Count(site.Log.String(), "bridge connected"); n != 1 {
		t.Errorf("the bridge has connected %d times", n)
	}
}
