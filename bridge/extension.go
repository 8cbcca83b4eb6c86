package bridge

import (
	"fmt"
	"strings"

	"sluice/codec"
)

// A Marker is how a bridge asks an upstream of MQTT 3.1.1 for the two extensions
// that are in MQTT 5 anyhow: that it names the keep-alive it wants, and another
// server to use. Such upstreams answer with longer CONNACKs than 3.1.1 knows, to
// those only who ask in the way that they are set up for.
type Marker byte

const (
	Unmarked       Marker = iota // not asked for, and an error if it comes
	MarkedListener               // all clients of the upstream's listener get it
	MarkedFlag                   // by bit 0 of the connect flags: others than those upstreams hang up
	MarkedUsername               // by a suffix of the user name, which the upstream takes off
	MarkedClientID               // by a prefix of the client identifier, which stays
)

var markers = []string{"off", "listener", "flag", "username", "clientid"}

// UnmarshalText takes off, listener, flag, username, clientid.
func (m *Marker) UnmarshalText(text []byte) error {
	for i, name := range markers {
		if name == string(text) {
			*m = Marker(i)
			return nil
		}
	}
	return fmt.Errorf("%q is none of %s", text, strings.Join(markers, ", "))
}

func (m Marker) String() string { return markers[m] }

// mark asks for the extensions in c: for another server only if alternate, and if
// there are hops left.
func (m Marker) mark(c *codec.Connect, alternate bool, hops uint16) {
	switch {
	case m == MarkedClientID && alternate: // in every version: the session goes by it
		c.ClientID = append([]byte("x-ka-alt/"), c.ClientID...)
	case m == MarkedClientID:
		c.ClientID = append([]byte("x-ka/"), c.ClientID...)
	case c.Version == codec.V5:
	case m == MarkedFlag && alternate:
		c.HasHops, c.Hops = true, hops
	case m == MarkedFlag:
		c.HasHops = true
	case m == MarkedUsername && alternate && hops > 0:
		c.Username = append(c.Username, ";ka;alt"...)
	case m == MarkedUsername:
		c.Username = append(c.Username, ";ka"...)
	}
}

// extended reports whether the extensions may come in version v.
func (b *Bridge) extended(v codec.Version) bool {
	return v != codec.V5 && b.cfg.Extensions != Unmarked
}
