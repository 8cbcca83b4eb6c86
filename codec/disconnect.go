package codec

// Disconnect is the last packet of a connection. Before MQTT 5.0 only a client
// sends it, and it is empty.
type Disconnect struct {
	Code             ReasonCode
	HasSessionExpiry bool
	SessionExpiry    uint32 // seconds, 0xffffffff = never; from a client only
	ReasonString     []byte
	User             []UserProperty
	ServerReference  []byte // from a server only
}

// Type is TypeDisconnect.
func (*Disconnect) Type() PacketType { return TypeDisconnect }

// Append implements [Packet].
func (p *Disconnect) Append(b []byte, v Version) []byte {
	bare := !p.HasSessionExpiry && p.ReasonString == nil && len(p.User) == 0 && p.ServerReference == nil
	switch {
	case v != V5 || bare && p.Code == NormalDisconnection:
		return append(b, first(TypeDisconnect), 0)
	case bare:
		return append(b, first(TypeDisconnect), 1, byte(p.Code))
	}
	at := len(b) + 1
	b = append(b, first(TypeDisconnect), 0, byte(p.Code), 0)
	if p.HasSessionExpiry {
		b = appendUint32Property(b, propSessionExpiry, p.SessionExpiry)
	}
	b = appendBinaryProperty(b, propReasonString, p.ReasonString)
	b = appendUser(b, p.User)
	b = appendBinaryProperty(b, propServerReference, p.ServerReference)
	b = closeLength(b, at+2, 0)
	return closeLength(b, at, 0)
}

func (p *Disconnect) decode(f *fields, v Version, fromServer bool) {
	*p = Disconnect{}
	if v != V5 || len(f.b) == 0 {
		f.end()
		return
	}
	p.Code = ReasonCode(f.byte())
	if !disconnectCode(p.Code, fromServer) {
		f.fail(errReasonCode)
	}
	if len(f.b) > 0 {
		p.properties(f, fromServer)
	}
	f.end()
}

func (p *Disconnect) properties(f *fields, fromServer bool) {
	f.properties()
	for f.next() {
		switch f.id {
		case propSessionExpiry:
			p.HasSessionExpiry, p.SessionExpiry = true, f.uint32()
			if fromServer {
				f.fail(errDisconnectExpiry)
			}
		case propReasonString:
			p.ReasonString = f.text()
		case propUser:
			p.User = f.user(p.User)
		case propServerReference:
			p.ServerReference = f.text()
			if !fromServer {
				f.fail(errDisconnectRedirect)
			}
		default:
			f.fail(errProperty)
		}
	}
}

// disconnectCode says whether that side may end a connection with c.
func disconnectCode(c ReasonCode, fromServer bool) bool {
	switch c {
	case NormalDisconnection, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecificError,
		TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh,
		QuotaExceeded, AdministrativeAction, PayloadFormatInvalid,
		QoSNotSupported: // listed for a server, but section 3.3.4 lets a client use it
		return true
	case DisconnectWithWill:
		return !fromServer
	case NotAuthorized, ServerBusy, ServerShuttingDown, BadAuthenticationMethod, KeepAliveTimeout,
		SessionTakenOver, TopicFilterInvalid, RetainNotSupported, UseAnotherServer, ServerMoved,
		SharedSubscriptionsNotSupported, ConnectionRateExceeded, MaximumConnectTime,
		SubscriptionIdentifiersNotSupported, WildcardSubscriptionsNotSupported:
		return fromServer
	}
	return false
}
