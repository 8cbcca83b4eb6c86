package wire

// Identifiers of properties, section 2.2.2.2 of MQTT 5.0.
const (
	PayloadFormat                   byte = 0x01
	MessageExpiry                   byte = 0x02
	ContentType                     byte = 0x03
	ResponseTopic                   byte = 0x08
	CorrelationData                 byte = 0x09
	SubscriptionIdentifier          byte = 0x0b
	SessionExpiry                   byte = 0x11
	AssignedClientIdentifier        byte = 0x12
	ServerKeepAlive                 byte = 0x13
	AuthenticationMethod            byte = 0x15
	AuthenticationData              byte = 0x16
	RequestProblemInformation       byte = 0x17
	WillDelay                       byte = 0x18
	RequestResponseInformation      byte = 0x19
	ResponseInformation             byte = 0x1a
	ServerReference                 byte = 0x1c
	ReasonString                    byte = 0x1f
	ReceiveMaximum                  byte = 0x21
	TopicAliasMaximum               byte = 0x22
	TopicAlias                      byte = 0x23
	MaximumQoS                      byte = 0x24
	RetainAvailable                 byte = 0x25
	UserProperty                    byte = 0x26
	MaximumPacketSize               byte = 0x27
	WildcardSubscriptionAvailable   byte = 0x28
	SubscriptionIdentifierAvailable byte = 0x29
	SharedSubscriptionAvailable     byte = 0x2a
)

// Property is one property as it was read.
type Property struct {
	ID    byte
	Value uint32 // of integers
	Text  string // of strings and binary data; the name of a user property
	Text2 string // the value of a user property
}

// Properties are in the order in which they came.
type Properties []Property

// Get returns the first property with an identifier.
func (ps Properties) Get(id byte) (Property, bool) {
	for _, p := range ps {
		if p.ID == id {
			return p, true
		}
	}
	return Property{}, false
}

// Has says whether there is a property with an identifier.
func (ps Properties) Has(id byte) bool {
	_, has := ps.Get(id)
	return has
}

// Int is the value of an integer property, or def if it is absent.
func (ps Properties) Int(id byte, def uint32) uint32 {
	if p, has := ps.Get(id); has {
		return p.Value
	}
	return def
}

// All returns the properties with an identifier.
func (ps Properties) All(id byte) (all Properties) {
	for _, p := range ps {
		if p.ID == id {
			all = append(all, p)
		}
	}
	return all
}

// kind is how the value of a property is written.
type kind byte

const (
	none kind = iota
	oneByte
	twoBytes
	fourBytes
	varInt
	text
	bytes
	pair
)

// The packets a property may stand in, as bits: 1 << type; bit 0 is the Will.
const (
	inWill        = 1
	inConnect     = 1 << CONNECT
	inConnack     = 1 << CONNACK
	inPublish     = 1 << PUBLISH
	inAcks        = 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP
	inSubscribe   = 1 << SUBSCRIBE
	inSuback      = 1 << SUBACK
	inUnsubscribe = 1 << UNSUBSCRIBE
	inUnsuback    = 1 << UNSUBACK
	inDisconnect  = 1 << DISCONNECT
	inAuth        = 1 << AUTH
	anywhere      = inWill | inConnect | inConnack | inPublish | inAcks | inSubscribe | inSuback | inUnsubscribe | inUnsuback | inDisconnect | inAuth
)

// properties is the table of section 2.2.2.2, with the least and the greatest value
// of integers.
var properties = [0x2b]struct {
	kind     kind
	in       uint32
	min, max uint32
}{
	PayloadFormat:                   {oneByte, inWill | inPublish, 0, 1},
	MessageExpiry:                   {fourBytes, inWill | inPublish, 0, 1<<32 - 1},
	ContentType:                     {text, inWill | inPublish, 0, 0},
	ResponseTopic:                   {text, inWill | inPublish, 0, 0},
	CorrelationData:                 {bytes, inWill | inPublish, 0, 0},
	SubscriptionIdentifier:          {varInt, inPublish | inSubscribe, 1, 268435455},
	SessionExpiry:                   {fourBytes, inConnect | inConnack | inDisconnect, 0, 1<<32 - 1},
	AssignedClientIdentifier:        {text, inConnack, 0, 0},
	ServerKeepAlive:                 {twoBytes, inConnack, 0, 65535},
	AuthenticationMethod:            {text, inConnect | inConnack | inAuth, 0, 0},
	AuthenticationData:              {bytes, inConnect | inConnack | inAuth, 0, 0},
	RequestProblemInformation:       {oneByte, inConnect, 0, 1},
	WillDelay:                       {fourBytes, inWill, 0, 1<<32 - 1},
	RequestResponseInformation:      {oneByte, inConnect, 0, 1},
	ResponseInformation:             {text, inConnack, 0, 0},
	ServerReference:                 {text, inConnack | inDisconnect, 0, 0},
	ReasonString:                    {text, inConnack | inAcks | inSuback | inUnsuback | inDisconnect | inAuth, 0, 0},
	ReceiveMaximum:                  {twoBytes, inConnect | inConnack, 1, 65535},
	TopicAliasMaximum:               {twoBytes, inConnect | inConnack, 0, 65535},
	TopicAlias:                      {twoBytes, inPublish, 1, 65535},
	MaximumQoS:                      {oneByte, inConnack, 0, 1},
	RetainAvailable:                 {oneByte, inConnack, 0, 1},
	UserProperty:                    {pair, anywhere, 0, 0},
	MaximumPacketSize:               {fourBytes, inConnect | inConnack, 1, 1<<32 - 1},
	WildcardSubscriptionAvailable:   {oneByte, inConnack, 0, 1},
	SubscriptionIdentifierAvailable: {oneByte, inConnack, 0, 1},
	SharedSubscriptionAvailable:     {oneByte, inConnack, 0, 1},
}

// Belongs says whether a property may stand in a packet of a type, 0 for the Will,
// whoever sends it.
func Belongs(where, id byte) bool {
	return int(id) < len(properties) && properties[id].kind != none && properties[id].in&(1<<where) != 0
}

// properties reads properties with their length before them. where is the type of
// the packet, 0 for the Will.
func (r *reader) properties(where byte) (ps Properties) {
	in := reader{b: r.take(r.vbi()), version: r.version}
	for len(in.b) > 0 && in.breach == nil {
		ps = append(ps, in.property(where, ps))
	}
	if in.breach != nil {
		r.breach = in.breach
	}
	return ps
}

func (r *reader) property(where byte, before Properties) (p Property) {
	n := r.vbi()
	if n >= len(properties) || properties[n].kind == none {
		r.fail("", "", "unknown property %#x", n)
		return p
	}
	row := &properties[n]
	p.ID = byte(n)
	if row.in&(1<<where) == 0 {
		r.fail("", propertyRule(where, p.ID), "property %#x in a packet of type %d", n, where)
	}
	repeats := p.ID == UserProperty || p.ID == SubscriptionIdentifier && where == PUBLISH
	if before.Has(p.ID) && !repeats {
		r.fail("", "", "property %#x twice", n)
	}
	switch row.kind {
	case oneByte:
		p.Value = uint32(r.byte())
	case twoBytes:
		p.Value = uint32(r.uint16())
	case fourBytes:
		p.Value = r.uint32()
	case varInt:
		p.Value = uint32(r.vbi())
	case text:
		p.Text = r.text()
	case bytes:
		p.Text = r.binary()
	case pair:
		p.Text, p.Text2 = r.pairText(), r.pairText()
	}
	if row.kind <= varInt && (p.Value < row.min || p.Value > row.max) {
		rule := ""
		if p.ID == TopicAlias {
			rule = "MQTT-3.3.2-8"
		}
		r.fail("", rule, "property %#x is %d", n, p.Value)
	}
	return p
}

// propertyRule is the statement of 5.0 that forbids a property in a packet, if there
// is one.
func propertyRule(where, id byte) string {
	if where == DISCONNECT && id == SessionExpiry {
		return "MQTT-3.14.2-2"
	}
	return ""
}
