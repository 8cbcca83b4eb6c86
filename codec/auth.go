package codec

// Auth is a step of an authentication, in MQTT 5.0 only.
type Auth struct {
	Code         ReasonCode // Success, ContinueAuthentication, Reauthenticate
	AuthMethod   []byte     // never absent
	AuthData     []byte
	ReasonString []byte
	User         []UserProperty
}

// Type is TypeAuth.
func (*Auth) Type() PacketType { return TypeAuth }

// Append implements [Packet]. It appends nothing before MQTT 5.0.
func (p *Auth) Append(b []byte, v Version) []byte {
	if v != V5 {
		return b
	}
	at := len(b) + 1
	b = append(b, first(TypeAuth), 0, byte(p.Code), 0)
	b = append(b, propAuthMethod)
	b = appendBinary(b, p.AuthMethod)
	b = appendBinaryProperty(b, propAuthData, p.AuthData)
	b = appendBinaryProperty(b, propReasonString, p.ReasonString)
	b = appendUser(b, p.User)
	b = closeLength(b, at+2, 0)
	return closeLength(b, at, 0)
}

func (p *Auth) decode(f *fields, fromServer bool) {
	*p = Auth{}
	if len(f.b) > 0 {
		p.Code = ReasonCode(f.byte())
	}
	switch {
	case p.Code == ContinueAuthentication:
	case p.Code == Success && fromServer:
	case p.Code == Reauthenticate && !fromServer:
	case len(f.b) == 0: // the short form, which leaves the method out
	default:
		f.fail(errReasonCode) // [MQTT-3.15.2-1]
	}
	if len(f.b) > 0 {
		p.properties(f)
	}
	f.end()
	if p.AuthMethod == nil {
		f.fail(errAuthMethod)
	}
}

func (p *Auth) properties(f *fields) {
	f.properties()
	for f.next() {
		switch f.id {
		case propAuthMethod:
			p.AuthMethod = f.text()
		case propAuthData:
			p.AuthData = f.binary()
		case propReasonString:
			p.ReasonString = f.text()
		case propUser:
			p.User = f.user(p.User)
		default:
			f.fail(errProperty)
		}
	}
}
