package bridge

import (
	"testing"
	"time"

	"sluice/codec"
)

func TestKeepAliveNegotiation(t *testing.T) {
	for _, test := range []struct {
		marker  Marker
		connect codec.Connect // what is not as without a marker
	}{
		{marker: MarkedListener},
		{marker: MarkedFlag, connect: codec.Connect{HasHops: true}},
		{marker: MarkedUsername, connect: codec.Connect{Username: []byte("me;ka")}},
		{marker: MarkedClientID, connect: codec.Connect{ClientID: []byte("x-ka/site7")}},
	} {
		t.Run(test.marker.String(), func(t *testing.T) {
			play(t, Config{Extensions: test.marker, Username: "me"}, func(t *testing.T, s *scene) {
				s.b.home[0].version = version{old: true, since: time.Now()}
				want := &test.connect
				want.Version, want.KeepAlive = codec.V311, 60
				if want.ClientID == nil {
					want.ClientID = []byte("site7")
				}
				if want.Username == nil {
					want.Username = []byte("me")
				}
				up := s.dialled(codec.V311)
				up.want("the bridge asks as it was told to", want)
				up.conn.Write([]byte{0x20, 4, 1, 0, 1, 0x2c}) // 300 s
				s.local(100, &codec.Connack{})
				for range 2 {
					began := time.Now()
					up.want("the server's keep-alive counts", &codec.Pingreq{})
					if took := time.Since(began); took != 225*time.Second {
						t.Errorf("PINGREQ after %v, want three quarters of 300 s", took)
					}
					up.send(&codec.Pingresp{})
				}
				up.conn.Close()
				up = s.dialled(codec.V311)
				up.want("the next time its own is asked for again", want)
				up.conn.Write([]byte{0x20, 2, 1, 0})
				s.local(100, &codec.Connack{})
				began := time.Now()
				up.want("a server that says nothing agrees", &codec.Pingreq{})
				if took := time.Since(began); took != 45*time.Second {
					t.Errorf("PINGREQ after %v, want three quarters of 60 s", took)
				}
			})
		})
	}
	play(t, Config{}, func(t *testing.T, s *scene) {
		s.b.home[0].version = version{old: true, since: time.Now()}
		up := s.upstream(codec.V311)
		up.conn.Write([]byte{0x20, 4, 1, 0, 1, 0x2c})
		up.wantClosed("unasked, it is malformed")
	})
	play(t, Config{Extensions: MarkedClientID}, func(t *testing.T, s *scene) {
		up := s.dialled(codec.V5)
		c := s.b.connectPacket(codec.V5)
		if string(c.ClientID) != "x-ka/site7" || c.HasHops || c.Username != nil {
			t.Errorf("MQTT 5 asks for its own: %+v", c)
		}
		up.want("the session goes by one name in every version", c)
	})
}
