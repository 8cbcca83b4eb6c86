package suite

// Target is a broker to test. Addresses are host:port; what a target has not, is "",
// and tests that need it are not run.
type Target struct {
	Name string
	V5   bool // it speaks MQTT 5.0; all speak 3.1.1

	Addr      string // TCP, open to all
	WebSocket string // the same broker over WebSocket
	Path      string // of WebSocket, "/mqtt" if it is ""

	Guarded  string // TCP, for User with Password only
	User     string
	Password string

	// Limited is a listener for TCP, open to all, whose limits are told to clients
	// of MQTT 5.0 and are low enough to reach.
	Limited string

	// Gateway is the path of the gateway's binary, for tests that start one of
	// their own and for those of its bridge and its commands.
	Gateway string
}
