package transport

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/ccm"
	"github.com/pion/dtls/v2/pkg/crypto/clientcertificate"
	"github.com/pion/dtls/v2/pkg/crypto/prf"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
	"github.com/pion/logging"
	"golang.org/x/crypto/chacha20poly1305"
)

// This file alone names pion/dtls, version 2, and gives no type of it away: a
// move to version 3 is a change of this file. That would bring Connection IDs,
// by which a device behind a translator of addresses keeps its session (RFC
// 9146), and nonces from the sequence in the built-in suites, in place of those
// here. What version 2 does not do is done around it:
//
//   - Its AEAD suites take their nonces at random (CVE-2026-26014): sequenced.
//   - Its listener does one handshake after the other: dtlsListener has its own loop.
//   - It takes the hello of a device that was switched off and on for a retransmission:
//     dtlsListener gives it a session to try beside the old one.
//   - It heeds alerts and other records that anybody could have sent: records.pass.
//   - It stores a session to be resumed before its peer has proved anything: dtlsTrial.
//   - It closes a session without telling the peer, now and then: farewell.
//   - It loses what does not fit the buffer of a Read: maxDTLSDatagram.

// maxDTLSDatagram is what pion/dtls reads at once, so no record is longer.
const maxDTLSDatagram = 8192

// maxDTLSPayload is the longest message that a session sends, in bytes: what the
// other end is a pion/dtls has to read it.
const maxDTLSPayload = maxDTLSDatagram - headerAndNonce - aeadOverhead

// dtlsMTU is where flights of a handshake are cut, in bytes.
const dtlsMTU = 1200

// The suites that are offered, as IANA numbers them.
const (
	pskChaCha20      = dtls.CipherSuiteID(0xCCAB) // TLS_PSK_WITH_CHACHA20_POLY1305_SHA256
	pskAES256CCM     = dtls.CipherSuiteID(0xC0A5) // TLS_PSK_WITH_AES_256_CCM
	ecdsaChaCha20    = dtls.CipherSuiteID(0xCCA9) // TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	pskAES128CCM8    = dtls.TLS_PSK_WITH_AES_128_CCM_8
	certificateSuite = uint16(ecdsaChaCha20)
	ccm8Suite        = uint16(pskAES128CCM8)
	explicitNonce    = 8
	aeadOverhead     = 16
	headerAndNonce   = recordlayer.HeaderSize + explicitNonce
)

// sequenced is a suite whose nonces are epoch and sequence number, which never
// come twice.
type sequenced struct {
	id          dtls.CipherSuiteID
	name        string
	certificate bool
	keySize     int
	ivSize      int
	aead        func(key []byte) (cipher.AEAD, error)

	keys atomic.Pointer[recordKeys]
}

type recordKeys struct {
	seal, open     cipher.AEAD
	sealIV, openIV []byte
}

// sequencedSuites are those of our own, the preferred one first.
func sequencedSuites() []dtls.CipherSuite {
	// AES is left to the small AES engines of microcontrollers: ChaCha20 is
	// as fast or faster on a processor without AES instructions, and constant in time.
	return []dtls.CipherSuite{
		&sequenced{id: pskChaCha20, name: "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256", keySize: 32, ivSize: 12, aead: chacha20poly1305.New},
		&sequenced{id: ecdsaChaCha20, name: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", certificate: true, keySize: 32, ivSize: 12, aead: chacha20poly1305.New},
		&sequenced{id: pskAES256CCM, name: "TLS_PSK_WITH_AES_256_CCM", keySize: 32, ivSize: 4, aead: newCCM},
	}
}

func newCCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return ccm.NewCCM(block, aeadOverhead, 12)
}

func (s *sequenced) String() string                          { return s.name }
func (s *sequenced) ID() dtls.CipherSuiteID                  { return s.id }
func (s *sequenced) HashFunc() func() hash.Hash              { return sha256.New }
func (s *sequenced) CertificateType() clientcertificate.Type { return clientcertificate.ECDSASign }
func (s *sequenced) ECC() bool                               { return s.certificate }
func (s *sequenced) IsInitialized() bool                     { return s.keys.Load() != nil }

func (s *sequenced) AuthenticationType() dtls.CipherSuiteAuthenticationType {
	if s.certificate {
		return dtls.CipherSuiteAuthenticationTypeCertificate
	}
	return dtls.CipherSuiteAuthenticationTypePreSharedKey
}

func (s *sequenced) KeyExchangeAlgorithm() dtls.CipherSuiteKeyExchangeAlgorithm {
	if s.certificate {
		return dtls.CipherSuiteKeyExchangeAlgorithmEcdhe
	}
	return dtls.CipherSuiteKeyExchangeAlgorithmPsk
}

func (s *sequenced) Init(master, clientRandom, serverRandom []byte, isClient bool) error {
	k, err := prf.GenerateEncryptionKeys(master, clientRandom, serverRandom, 0, s.keySize, s.ivSize, sha256.New)
	if err != nil {
		return err
	}
	own, peer, ownIV, peerIV := k.ServerWriteKey, k.ClientWriteKey, k.ServerWriteIV, k.ClientWriteIV
	if isClient {
		own, peer, ownIV, peerIV = peer, own, peerIV, ownIV
	}
	seal, err := s.aead(own)
	if err != nil {
		return err
	}
	open, err := s.aead(peer)
	if err != nil {
		return err
	}
	s.keys.Store(&recordKeys{seal: seal, open: open, sealIV: ownIV, openIV: peerIV})
	return nil
}

// nonce makes one of iv and the eight bytes of epoch and sequence number, which
// are XORed into the end of a long iv [RFC 7905 section 2], and follow a short
// one [RFC 6655 section 3].
func nonce(n *[12]byte, iv, seq []byte) []byte {
	copy(n[:], iv)
	for i, b := range seq {
		n[4+i] ^= b
	}
	return n[:]
}

// additionalData is epoch, sequence number, type, version and length. [RFC 6347 section 4.1.2.1]
func additionalData(a *[13]byte, header []byte, length int) []byte {
	copy(a[:8], header[3:11])
	copy(a[8:11], header[:3])
	binary.BigEndian.PutUint16(a[11:], uint16(length))
	return a[:]
}

var (
	errNoKeys    = errors.New("no keys yet")
	errBadRecord = errors.New("not a record of the peer")
)

// explicit is how many bytes of the nonce stand in the record.
func (s *sequenced) explicit() int { return 12 - s.ivSize }

func (s *sequenced) Encrypt(_ *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	k := s.keys.Load()
	if k == nil {
		return nil, errNoKeys
	}
	header, payload := raw[:recordlayer.HeaderSize], raw[recordlayer.HeaderSize:]
	var n [12]byte
	var a [13]byte
	out := make([]byte, 0, headerAndNonce+len(payload)+aeadOverhead)
	out = append(out, header...)
	out = append(out, header[3:3+s.explicit()]...)
	out = k.seal.Seal(out, nonce(&n, k.sealIV, header[3:11]), payload, additionalData(&a, header, len(payload)))
	binary.BigEndian.PutUint16(out[11:], uint16(len(out)-recordlayer.HeaderSize))
	return out, nil
}

func (s *sequenced) Decrypt(in []byte) ([]byte, error) {
	k := s.keys.Load()
	switch {
	case k == nil:
		return nil, errNoKeys
	case len(in) < recordlayer.HeaderSize+s.explicit()+aeadOverhead:
		return nil, errBadRecord
	}
	header, sealed := in[:recordlayer.HeaderSize], in[recordlayer.HeaderSize+s.explicit():]
	seq := header[3:11]
	if s.explicit() > 0 {
		seq = in[recordlayer.HeaderSize:headerAndNonce]
	}
	var n [12]byte
	var a [13]byte
	out, err := k.open.Open(sealed[:0], nonce(&n, k.openIV, seq), sealed, additionalData(&a, header, len(sealed)-aeadOverhead))
	if err != nil {
		return nil, errBadRecord
	}
	return append(header, out...), nil
}

// silent is the logger of pion/dtls, which says nothing that is not said here.
type silent struct{}

var silentLogger = (&logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}).NewLogger("dtls")

func (silent) NewLogger(string) logging.LeveledLogger { return silentLogger }

// serveDTLS is what all handshakes of a listener have in common.
func serveDTLS(conf *DTLSConfig) *dtls.Config {
	c := &dtls.Config{
		CipherSuites:       []dtls.CipherSuiteID{}, // nil would be the built-in ones
		CustomCipherSuites: sequencedSuites,
		Certificates:       conf.Certificates,
		ClientCAs:          conf.ClientCAs,
		MTU:                dtlsMTU,
		LoggerFactory:      silent{},
	}
	if conf.CCM8 {
		c.CipherSuites = append(c.CipherSuites, pskAES128CCM8)
	}
	if conf.ClientCAs != nil {
		c.ClientAuth = dtls.VerifyClientCertIfGiven // that it is given is dtlsTrial's to see
	}
	return c
}

// dtlsSettings keeps the type of pion/dtls out of other files.
type dtlsSettings = *dtls.Config

// handshake does the handshake of one trial as a server.
func (tr *dtlsTrial) handshake(ctx context.Context, common dtlsSettings) (net.Conn, error) {
	c := *common
	c.SessionStore = tr
	if tr.l.conf.Key != nil {
		c.PSK = tr.key
		c.PSKIdentityHint = []byte{}
	}
	c.VerifyConnection = func(s *dtls.State) error {
		var certificate []byte
		if len(s.PeerCertificates) > 0 {
			certificate = s.PeerCertificates[0]
		}
		return tr.verify(certificate)
	}
	under := &farewell{Conn: tr.pipe}
	conn, err := dtls.ServerWithContext(ctx, under, &c)
	if err != nil {
		return nil, err
	}
	return &dtlsConn{conn, under}, nil
}

// dtlsConn is a Conn whose Close tells the peer.
type dtlsConn struct {
	*dtls.Conn
	under *farewell
}

func (c *dtlsConn) Close() error {
	c.under.expect()
	return c.Conn.Close()
}

// farewell is the socket of a dtlsConn. Close of pion/dtls ends reading by a
// deadline before it writes its close_notify, and the goroutine that reads then
// closes the socket, now and then too early: that deadline waits for the alert.
type farewell struct {
	net.Conn

	// Guarded by mu.
	mu       sync.Mutex
	expected bool
	ended    bool // reading, but for that
}

func (f *farewell) expect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expected = true
}

func (f *farewell) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.expected {
		f.ended = !t.IsZero()
		return nil
	}
	return f.Conn.SetReadDeadline(t)
}

func (f *farewell) Write(b []byte) (int, error) {
	n, err := f.Conn.Write(b)
	if b[0] == contentAlert {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.expected = false
		if f.ended {
			f.Conn.SetReadDeadline(time.Unix(1, 0))
		}
	}
	return n, err
}

// Get, Set and Del make a trial the store of pion/dtls for its session.
func (tr *dtlsTrial) Get(id []byte) (dtls.Session, error) {
	secret := tr.resume(id)
	if secret == nil {
		return dtls.Session{}, nil
	}
	return dtls.Session{ID: id, Secret: secret}, nil
}

func (tr *dtlsTrial) Set(id []byte, s dtls.Session) error {
	tr.store(id, s.Secret)
	return nil
}

func (tr *dtlsTrial) Del(id []byte) error {
	tr.spoilt(id)
	return nil
}

// DTLSClient is how to reach a DTLS listener: with a pre-shared key, or with
// the certificates that the server's has to come from.
type DTLSClient struct {
	Identity string
	Key      []byte // nil for certificates

	Roots        *x509.CertPool    // nil for those of the system
	ServerName   string            // in the server's certificate
	Certificates []tls.Certificate // the client's own, ECDSA, may be empty

	CCM8 bool // TLS_PSK_WITH_AES_128_CCM_8 alone, as small devices have it

	sessions dtls.SessionStore // to resume from
	suites   []dtls.CipherSuite
	interval time.Duration // until a flight is sent again
}

// DialDTLS opens a DTLS session with the listener at addr, host:port, within
// the life of ctx. Each Write is a datagram, and so is each Read; what does not fit the
// buffer of a Read is lost, 8,192 bytes always do.
func DialDTLS(ctx context.Context, addr string, conf DTLSClient) (net.Conn, error) {
	at, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return nil, fmt.Errorf("dial dtls %s: %w", addr, err)
	}
	udp, err := net.DialUDP("udp", nil, at)
	if err != nil {
		return nil, fmt.Errorf("dial dtls %s: %w", addr, err)
	}
	conn, err := conf.handshake(ctx, udp)
	if err != nil {
		udp.Close()
		return nil, fmt.Errorf("dial dtls %s: %w", addr, err)
	}
	return conn, nil
}

func (conf *DTLSClient) handshake(ctx context.Context, under net.Conn) (net.Conn, error) {
	c := &dtls.Config{
		CipherSuites:       []dtls.CipherSuiteID{},
		CustomCipherSuites: sequencedSuites,
		RootCAs:            conf.Roots,
		ServerName:         conf.ServerName,
		Certificates:       conf.Certificates,
		MTU:                dtlsMTU,
		LoggerFactory:      silent{},
		SessionStore:       conf.sessions,
		FlightInterval:     conf.interval,
	}
	if conf.suites != nil {
		c.CustomCipherSuites = func() []dtls.CipherSuite { return conf.suites }
	}
	if conf.CCM8 {
		c.CipherSuites, c.CustomCipherSuites = []dtls.CipherSuiteID{pskAES128CCM8}, nil
	}
	if conf.Key != nil {
		c.PSK = func([]byte) ([]byte, error) { return conf.Key, nil }
		c.PSKIdentityHint = []byte(conf.Identity) // a client's is its identity
	}
	last := &farewell{Conn: under}
	conn, err := dtls.ClientWithContext(ctx, last, c)
	if err != nil {
		return nil, err
	}
	return &dtlsConn{conn, last}, nil
}
