package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"sluice/bridge"
	"sluice/codec/batch"
	"sluice/gateway/access"
	"sluice/gateway/topic"
	"sluice/store"
)

// prefix begins the name of every environment variable that Sluice reads.
const prefix = "SLUICE_"

// settings is everything the gateway is told, and the only place where names
// and defaults stand. A new setting is
//
//  1. a field here, with its name, default and meaning;
//  2. a rule in check, if not every value of its type will do;
//  3. its way to the package that wants it, in serve.go;
//
// and then `make check` says that deploy/sluice.env is to be written anew.
// Where the default depends on other things, the tag default describes it and
// finish sets it. The tag group begins a group in what sluice config prints.
type settings struct {
	MQTTAddr  address `group:"Listeners" env:"MQTT_ADDR" envDefault:":1883" about:"MQTT over TCP: host:port, :port for all addresses, or off"`
	MQTTSAddr address `env:"MQTTS_ADDR" default:"off, or :8883 with SLUICE_TLS_CERT" about:"MQTT over TLS: like SLUICE_MQTT_ADDR"`
	WSAddr    address `env:"WS_ADDR" envDefault:":8083" about:"MQTT over WebSocket, path /mqtt: like SLUICE_MQTT_ADDR"`
	WSSAddr   address `env:"WSS_ADDR" default:"off, or :8084 with SLUICE_TLS_CERT" about:"MQTT over secure WebSocket, path /mqtt: like SLUICE_MQTT_ADDR"`
	UnixPath  string  `env:"UNIX_PATH" envDefault:"off" about:"MQTT over a Unix socket: its path, or off"`

	HTTPAddr address `env:"HTTP_ADDR" envDefault:"off" about:"HTTP for who looks after the gateway: /metrics for Prometheus, /healthz: host:port, such as 127.0.0.1:8080, or off. Whoever reaches it is answered: it tells counts and the bridges' names, no secrets"`

	ProxyFrom      prefixes `env:"PROXY_FROM" about:"Load balancers in front that speak the PROXY protocol: addresses or prefixes, such as 10.0.0.0/8,::1"`
	MaxConnections int      `env:"MAX_CONNECTIONS" envDefault:"0" about:"Connections at a time, 0 for as many as the system allows files"`

	TLSCert     string `group:"TLS" env:"TLS_CERT" about:"File with the server's certificate and those that sign it, in PEM"`
	TLSKey      string `env:"TLS_KEY" about:"File with the private key of SLUICE_TLS_CERT, in PEM"`
	TLSClientCA string `env:"TLS_CLIENT_CA" about:"File with the authorities of client certificates, in PEM: clients may present one, and it must be good"`

	UsersFile     string `group:"Access" env:"USERS_FILE" about:"File with accounts and what they may do, written by sluice passwd"`
	AuthAnonymous bool   `env:"AUTH_ANONYMOUS" envDefault:"false" about:"Whether clients without an account are let in, from everywhere: true or false"`

	MaxPacketSize    size          `group:"Clients" env:"MAX_PACKET_SIZE" envDefault:"1MiB" about:"Largest packet accepted, up to 256MiB"`
	MaxInflight      uint16        `env:"MAX_INFLIGHT" envDefault:"512" about:"Messages at QoS 1 and 2 under way at a time, for each client and direction"`
	MaxKeepAlive     time.Duration `env:"MAX_KEEPALIVE" envDefault:"0" about:"Longest keep-alive an MQTT 5 client may have, 0 for any"`
	MaxSessionExpiry time.Duration `env:"MAX_SESSION_EXPIRY" envDefault:"0" about:"How long sessions outlast their connections at most, 0 for as long as clients ask"`

	Batches           bool  `env:"BATCHES" envDefault:"false" about:"Whether clients of MQTT 5 may send many messages in one publish, as the bridges of other gateways do with batch= in UP. They are told so, and each message is taken as if it had come by itself: true or false"`
	BatchDictionaries files `env:"BATCH_DICTIONARIES" about:"Files, with commas between them, that those bridges may use as BATCH_DICTIONARY"`

	DataDir       string        `group:"Store" env:"DATA_DIR" default:"$STATE_DIRECTORY, which systemd sets, else ./data" about:"Directory of what must survive a power cut"`
	StoreSync     store.Sync    `env:"STORE_SYNC" envDefault:"always" about:"When an acknowledgement may leave: always = on disk; interval = written, on disk within a second; never = written"`
	StoreLinger   time.Duration `env:"STORE_LINGER" envDefault:"2ms" about:"How long, up to twice, a write waits for being made needless by the subscribers' acknowledgements; up to five times while they are coming"`
	StoreMaxBytes size          `env:"STORE_MAX_BYTES" default:"256MiB, or half of SLUICE_MEMORY_LIMIT if that is less" about:"What may wait for all sessions together; it is in memory as well as on disk"`
	QueueMaxBytes size          `env:"QUEUE_MAX_BYTES" default:"64MiB, or SLUICE_STORE_MAX_BYTES if that is less" about:"What may wait for one session"`
	QueuePolicy   policy        `env:"QUEUE_POLICY" envDefault:"reject" about:"What happens when that is full: reject = refuse the publisher; drop-oldest; drop-newest"`

	SNAddr           address       `group:"MQTT-SN" env:"SN_ADDR" envDefault:"off" about:"MQTT-SN over plain UDP: like SLUICE_MQTT_ADDR, such as :1883"`
	SNGatewayID      byte          `env:"SN_GATEWAY_ID" envDefault:"1" about:"What this gateway calls itself on the network, 1 to 255"`
	SNGroup          group         `env:"SN_GROUP" about:"Multicast or broadcast address, such as 225.1.1.1, to which the gateway makes itself known, at the port of SLUICE_SN_ADDR"`
	SNAdvertise      time.Duration `env:"SN_ADVERTISE" envDefault:"15m" about:"How often it does, up to 18h"`
	SNPredefined     topicIDs      `env:"SN_PREDEFINED" about:"Topic ids that devices know beforehand, such as 1=plant/pump,2=plant/valve"`
	SNPredefinedFile string        `env:"SN_PREDEFINED_FILE" about:"The same as a file, one to a line"`
	SNAnonymous      bool          `env:"SN_ANONYMOUS" envDefault:"false" about:"Whether messages at QoS -1 are taken from devices that have not connected: true or false"`
	SNForwarders     prefixes      `env:"SN_FORWARDERS" about:"Forwarders that encapsulate messages of devices: addresses or prefixes"`
	SNDTLSOnly       filters       `env:"SN_DTLS_ONLY" about:"Topic filters, with commas between them: what they match neither comes from nor goes to plain UDP"`
	SNRoaming        bool          `env:"SN_ROAMING" envDefault:"false" about:"Whether a sleeping device may wake at another address. Over plain UDP whoever knows its client identifier then gets its messages: true or false"`
	SNRetry          time.Duration `env:"SN_RETRY" envDefault:"10s" about:"How long a device may take to answer before it is asked again"`
	SNRetries        int           `env:"SN_RETRIES" envDefault:"4" about:"How often it is asked again before it is taken for lost, up to 100"`
	SNMaxDatagram    size          `env:"SN_MAX_DATAGRAM" envDefault:"1200" about:"Largest datagram sent to a device, up to 65507: messages that do not fit are dropped and counted"`
	SNMaxDevices     int           `env:"SN_MAX_DEVICES" envDefault:"20000" about:"Devices at a time: connected, asleep, or away with a session that lasts"`
	SNSleepBuffer    size          `env:"SN_SLEEP_BUFFER" envDefault:"4KiB" about:"What may wait at QoS 0 for a device that sleeps; at QoS 1 and 2 see SLUICE_QUEUE_MAX_BYTES"`

	SNDTLSAddr         address       `env:"SN_DTLS_ADDR" envDefault:"off" about:"MQTT-SN over DTLS 1.2: like SLUICE_MQTT_ADDR, such as :8883"`
	SNPSKFile          string        `env:"SN_PSK_FILE" default:"psk in SLUICE_DATA_DIR" about:"File with the pre-shared keys of devices, written by sluice psk; what is changed there counts at once"`
	SNDTLSCCM8         bool          `env:"SN_DTLS_CCM8" envDefault:"false" about:"Whether the cipher suite PSK-AES128-CCM8 of very small devices is offered too: true or false. Its sessions end after a million messages"`
	SNDTLSCertificates bool          `env:"SN_DTLS_CERTIFICATES" envDefault:"false" about:"Whether devices may also show a certificate of SLUICE_TLS_CLIENT_CA, whose common name is the account, or none with SLUICE_AUTH_ANONYMOUS: true or false. The key of SLUICE_TLS_CERT has to be ECDSA"`
	SNDTLSMaxSessions  int           `env:"SN_DTLS_MAX_SESSIONS" envDefault:"2000" about:"DTLS sessions at a time, of some 50 KB each: one more ends the one that was idle for longest"`
	SNDTLSIdle         time.Duration `env:"SN_DTLS_IDLE" envDefault:"24h" about:"How long a DTLS session may be idle, and how long after it began it can be resumed without a full handshake"`

	ShutdownTimeout time.Duration `group:"Process" env:"SHUTDOWN_TIMEOUT" envDefault:"10s" about:"How long an orderly end may take"`
	MemoryLimit     size          `env:"MEMORY_LIMIT" default:"half of the machine's or control group's memory" about:"How much memory to stay under, if possible"`
	EnvFile         string        `env:"ENV_FILE" about:"File with more of these variables, in the form of this one; what is set in the environment wins. It is read again on SIGHUP, and then what is about bridges, SLUICE_LOG_LEVEL, and what SLUICE_USERS_FILE and SLUICE_TLS_CERT hold change without a restart"`
	LogLevel        slog.Level    `env:"LOG_LEVEL" reload:"yes" envDefault:"info" about:"Least level to log: debug, info, warn or error"`
	LogFormat       logFormat     `env:"LOG_FORMAT" envDefault:"text" about:"Form of log lines: text or json"`

	ForgetBridges words `env:"FORGET_BRIDGES" reload:"yes" about:"Names of bridges that are no more, with commas between them, whose backlog is to be dropped; it is kept otherwise, for a bridge of that name"`

	// Bridges are the variables SLUICE_BRIDGE_0_..., SLUICE_BRIDGE_1_... Read one
	// by one: env's own slices stop at a gap and at the first fault, and say nothing.
	Bridges []bridgeSettings `env:"-"`

	environ map[string]string // all that is set
	origins map[string]string // of what SLUICE_ENV_FILE sets: path:line

	// What the files named above hold, set by check.
	tls        *tls.Config       // nil: no certificate
	accounts   *access.List      // nil: no accounts
	predefined *topic.Predefined // nil: none
	batches    []*batch.Dictionary
}

// bridgeSettings is one upstream.
type bridgeSettings struct {
	URL              serverURLs    `group:"Bridges: n is 0 for the first, 1 for the second, and so on" env:"URL" about:"The upstream: mqtt://, mqtts://, ws:// or wss://, host, port, and path for WebSocket; or several with commas between them, of which the first is used that is well"`
	Failback         time.Duration `env:"FAILBACK" envDefault:"5m" about:"How long between two looks whether an earlier one of several URLs is well again, to go back to it; 0 for never"`
	Redirect         bridge.Hosts  `env:"REDIRECT_ALLOW" about:"Hosts that the upstream may send the bridge on to (Server Reference), for a time or for good: b.example.com,*.example.org,10.0.0.0/8"`
	Name             string        `env:"NAME" default:"the number n" about:"What logs call it; its backlog belongs to the name, so keep it, or change it alone where CLIENT_ID is set. Numbers may have gaps"`
	ClientID         string        `env:"CLIENT_ID" default:"sluice-, the host's name, the bridge's name" about:"Client identifier at the upstream"`
	Username         string        `env:"USERNAME" about:"User name at the upstream"`
	Password         secret        `env:"PASSWORD" about:"Password at the upstream"`
	Up               rules         `env:"UP" about:"Topics to send up: rules with commas between them, of which the first that matches counts. A rule is a topic filter, the highest QoS (2 if left out), -> and the topic there, in which $1 is what the first + or # matched, $2 the second, retain=on or retain=off, ack=upstream, with which the publisher's acknowledgement waits for the upstream's, and batch=10s, with which messages at QoS 0 and 1 wait so long at most to go in one publish, compressed, if the upstream says that it takes that, as Sluice does with SLUICE_BATCHES; all but the filter may be left out: alarms/# 1 ack=upstream,sensors/+/temp 1 -> site7/$1/t retain=off. Write it between single quotes"`
	Down             rules         `env:"DOWN" about:"Topics to bring down, as in UP but for ack=upstream and batch="`
	UpPrefix         string        `env:"UP_PREFIX" about:"Put before topics on the way up, such as site7/, where the rule has no ->"`
	DownPrefix       string        `env:"DOWN_PREFIX" about:"Put before topics on the way down, where the rule has no ->"`
	MaxHops          int           `env:"MAX_HOPS" envDefault:"4" about:"How many bridges a message may have passed before this one, 1 to 255. They are counted in its user property sluice-hops, which MQTT 5 carries; 0 neither counts nor looks"`
	KeepAlive        keepAlive     `env:"KEEPALIVE" envDefault:"60s" about:"Longest silence before the upstream is asked whether it is there, 1s to 65535s; or auto: as long as the line is found to survive, beginning with 60s (auto:20s: with 20s)"`
	AckTimeout       time.Duration `env:"ACK_TIMEOUT" envDefault:"30s" about:"How long the upstream may owe an answer and say nothing else, 1s to 1h, before the line is taken for dead"`
	Extensions       bridge.Marker `env:"EXTENSIONS" envDefault:"off" about:"How to ask an upstream of MQTT 3.1.1 for the keep-alive that it wants: off, listener (it says so unasked), flag, username or clientid; MQTT 5 needs none"`
	QueueMaxBytes    size          `env:"QUEUE_MAX_BYTES" default:"SLUICE_QUEUE_MAX_BYTES" about:"What may wait to go up, at most SLUICE_STORE_MAX_BYTES"`
	QueueMaxMessages int           `env:"QUEUE_MAX_MESSAGES" envDefault:"0" about:"How many messages may wait to go up, 0 for any number"`
	QueueMaxAge      time.Duration `env:"QUEUE_MAX_AGE" envDefault:"0" about:"How long a message may wait to go up before it is dropped, 1s at least, 0 for as long as it takes"`
	QueuePolicy      *policy       `env:"QUEUE_POLICY" default:"SLUICE_QUEUE_POLICY" about:"What happens when so much waits: reject = refuse the publisher; drop-oldest; drop-newest. What was dropped is told on $SYS/bridge/NAME/losses"`
	DrainMessages    int           `env:"DRAIN_MESSAGES" envDefault:"0" about:"How many messages a second go up of those that waited while the upstream was away, 0 for as many as the line carries"`
	DrainBytes       size          `env:"DRAIN_BYTES" envDefault:"0" about:"How many bytes of them a second, 0 for as many as the line carries"`
	LiveFirst        bool          `env:"LIVE_FIRST" envDefault:"false" about:"Whether what comes while the upstream is here goes up before what has waited, outside of that budget, if nothing of its topic waits: true or false. Each topic keeps its order"`
	MaxInflight      uint16        `env:"MAX_INFLIGHT" envDefault:"0" about:"Messages at QoS 1 and 2 under way at a time, each way, at most; within what the upstream grants, and up within what fills the line, which the bridge finds out. 0: as many as that, up to 16384, but to an upstream of MQTT 3.1.1, which can grant nothing, 512, or 20 if UP has QoS 2; down 512"`
	Paused           bool          `env:"PAUSED" envDefault:"false" about:"Whether the bridge stays away from its upstream, while what is to go up waits, whatever clients publish to $CONTROL/bridge/NAME: true or false"`
	CA               string        `env:"CA" default:"the system's authorities" about:"File with the authorities of the upstream's certificate, in PEM"`
	Cert             string        `env:"CERT" about:"File with a client certificate for the upstream, in PEM"`
	Key              string        `env:"KEY" about:"File with the private key of CERT, in PEM"`

	Proxy         serverURL  `env:"PROXY" about:"Proxy on the way to the upstream: http://host:port or socks5://host:port; it resolves the upstream's name"`
	ProxyUsername string     `env:"PROXY_USERNAME" about:"User name at the proxy"`
	ProxyPassword secret     `env:"PROXY_PASSWORD" about:"Password at the proxy"`
	Interface     string     `env:"INTERFACE" about:"Network interface to leave by, such as wwan0 (Linux)"`
	SourceAddr    netip.Addr `env:"SOURCE_ADDR" about:"Address of this machine to come from"`

	Preset      string        `env:"PRESET" about:"What a service needs and does not tell: nats, emqx, hivemq, rabbitmq, aws, azure-eventgrid, azure-iothub or gcp-jwt (deploy/clouds.md); what is set beside it wins"`
	Version     mqttVersion   `env:"VERSION" envDefault:"auto" about:"MQTT to ask for: 5, 3.1.1, or auto: 5, and 3.1.1 where that is refused"`
	MaxQoS      uint16        `env:"MAX_QOS" envDefault:"2" about:"Highest QoS that the upstream takes, 1 or 2: messages with a higher one go up at that"`
	MaxUpSize   size          `env:"MAX_UP_SIZE" default:"what the upstream says" about:"Largest packet that the upstream takes"`
	MaxTopic    uint16        `env:"MAX_TOPIC_SIZE" envDefault:"65535" about:"Longest topic that the upstream takes, in bytes"`
	MaxLevels   uint16        `env:"MAX_TOPIC_LEVELS" default:"any" about:"Most levels of a topic that the upstream takes, one more than slashes"`
	ALPN        string        `env:"ALPN" about:"Application protocol to ask for in TLS"`
	SASKey      secret        `env:"SAS_KEY" about:"Key of the device in base64, for passwords that are shared access signatures of Azure"`
	JWTKey      string        `env:"JWT_KEY" about:"File with a private key in PEM (RSA, or EC on P-256), for passwords that are JSON Web Tokens"`
	JWTAudience string        `env:"JWT_AUDIENCE" about:"For whom those tokens are"`
	TokenLife   time.Duration `env:"TOKEN_LIFE" envDefault:"1h" about:"How long such passwords are good, 10s to 23h: the bridge connects anew before"`

	BatchDictionary string `env:"BATCH_DICTIONARY" about:"File of up to 128 KiB with messages as they usually are, topics and payloads: batches get smaller by it, if the upstream has it in SLUICE_BATCH_DICTIONARIES"`
	BatchUnasked    bool   `env:"BATCH_UNASKED" envDefault:"false" about:"Whether batches, and BATCH_DICTIONARY, are used though the upstream does not say that it takes them: for who reads UP_PREFIX and sluice-batch behind it: true or false"`

	number      int  // n
	clientIDSet bool // not by finish

	// Set by check.
	files [sha256.Size]byte // what the files hold that it names
	urls  []*url.URL        // of URL; none if it is wrong
	proxy *url.URL          // nil: none
	token bridge.Token      // nil: Password does not expire
	tls   *tls.Config       // nil: all are mqtt: or ws:
	batch *batch.Dictionary // nil: none
}

// clientSettings are the defaults of sluice pub, sluice sub and sluice bench.
type clientSettings struct {
	URL      serverURL `group:"Commands sluice pub, sluice sub and sluice bench" env:"URL" envDefault:"mqtt://localhost:1883" about:"Server to use: mqtt://, mqtts://, ws://, wss:// or unix://"`
	Username string    `env:"USERNAME" about:"User name to give"`
	Password secret    `env:"PASSWORD" about:"Password to give"`
}

// The variables of bridges, and of clientSettings, begin with these.
const (
	bridgePrefix = prefix + "BRIDGE_"
	clientPrefix = prefix + "CLIENT_"
)

// finish sets what depends on other settings and on the machine.
func (s *settings) finish(environ map[string]string) {
	overTLS := func(a *address, port address) {
		if *a == "" {
			*a = off
			if s.TLSCert != "" {
				*a = port
			}
		}
	}
	overTLS(&s.MQTTSAddr, ":8883")
	overTLS(&s.WSSAddr, ":8084")
	s.DataDir = dataDir(s.DataDir, environ)
	s.SNPSKFile = cmp.Or(s.SNPSKFile, keysFile(s.DataDir))
	if s.MemoryLimit == 0 {
		s.MemoryLimit = size(availableMemory() / 2)
	}
	if s.StoreMaxBytes == 0 {
		s.StoreMaxBytes = min(256<<20, s.MemoryLimit/2)
	}
	if s.QueueMaxBytes == 0 {
		s.QueueMaxBytes = min(64<<20, s.StoreMaxBytes)
	}
	for i := range s.Bridges {
		s.Bridges[i].finish(s)
	}
}

// dataDir is where what must survive is kept, if set is not set.
func dataDir(set string, environ map[string]string) string {
	return cmp.Or(set, environ["STATE_DIRECTORY"], "data")
}

// keysFile is where pre-shared keys are kept, if nothing else is set.
func keysFile(dataDir string) string { return filepath.Join(dataDir, "psk") }

func (b *bridgeSettings) finish(s *settings) {
	if b.QueueMaxBytes == 0 {
		b.QueueMaxBytes = s.QueueMaxBytes
	}
	if b.QueuePolicy == nil {
		b.QueuePolicy = &s.QueuePolicy
	}
	if b.Name == "" {
		b.Name = strconv.Itoa(b.number)
	}
	if b.clientIDSet = b.ClientID != ""; !b.clientIDSet {
		host, _ := os.Hostname()
		b.ClientID = "sluice-" + host + "-" + b.Name
	}
}
