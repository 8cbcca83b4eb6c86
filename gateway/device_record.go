package gateway

import (
	"encoding/binary"
	"net/netip"
	"time"

	"sluice/codec"
	"sluice/store"
)

// What is stored of a device, beside the keys of its session:
//
//	n/n     what it is, see device.store
//	t/n id  the name of a topic id, 2 bytes big endian

// The flags of a device's record.
const (
	recordHere     = 1 << iota // it is active, or with the next one asleep
	recordAsleep               //
	recordClean                // its session ends with it
	recordSecure               // over DTLS
	recordVerified             // it has shown that it hears us
)

// store stores what the device is:
//
//	flags      byte
//	keepAlive  uvarint, seconds
//	sleep      uvarint, seconds
//	identity, address, node  strings, with uvarint lengths
//	will       nothing, or the record of the Will kept for its next connections
func (d *device) store(when store.Urgency) {
	to := d.conn.session
	if !to.durable() {
		return
	}
	s := to.srv
	var flags byte
	if d.conn.state != closed {
		flags |= recordHere
	}
	if d.state == asleep || d.state == awake {
		flags |= recordAsleep
	}
	if d.clean {
		flags |= recordClean
	}
	if d.secure {
		flags |= recordSecure
	}
	if d.verified {
		flags |= recordVerified
	}
	b := []byte{flags}
	b = binary.AppendUvarint(b, uint64(d.repeats.Duration))
	b = binary.AppendUvarint(b, uint64(d.sleep))
	b = appendString(b, d.identity)
	addr, _ := d.at.addr.MarshalText()
	b = appendString(b, string(addr))
	b = appendString(b, d.at.node)
	if w := to.device.will; w != nil {
		b = append(b, s.encodeRecord(&codec.Publish{Message: w.Message}, 0, "")...)
	}
	s.db.Set(to.diskKey('n'), string(b), when)
}

// number gives a topic a number, if it has none: 0 if there is no room for that, which only
// for a message that has taken some itself does not matter.
func (d *device) number(name []byte, must bool) uint16 {
	to := d.conn.session
	n, ok := d.ids().Find(name)
	if ok || !must && to.durable() && !to.srv.storeHasRoom(int64(len(name))+topicIDSize) {
		return n
	}
	for d.ids().Full(name) { // the device asks anew for what it still uses
		gone := d.ids().Evict(d.request.topicID)
		if gone == 0 {
			break
		}
		if to.durable() {
			to.srv.db.Delete(to.topicIDKey(gone), store.Soon)
		}
	}
	n, isNew := d.ids().Give(name)
	if isNew {
		d.saveID(n, name)
	}
	return n
}

// topicIDSize is about what a topic id takes in the store beside its name, in bytes.
const topicIDSize = 150

// saveID stores a topic id.
func (d *device) saveID(n uint16, name []byte) {
	to := d.conn.session
	if to.durable() {
		to.srv.db.Set(to.topicIDKey(n), string(name), store.Now)
		d.idsEpoch = to.srv.db.Epoch()
	}
}

func (to *session) topicIDKey(n uint16) string {
	return to.diskKey('t') + string(binary.BigEndian.AppendUint16(nil, n))
}

// forgetDevice removes what is stored of the session's device.
func (to *session) forgetDevice() {
	if to.device == nil {
		return
	}
	db := to.srv.db
	db.Delete(to.diskKey('n'), store.Soon)
	for n := range to.device.ids.All() {
		db.Delete(to.topicIDKey(n), store.Soon)
	}
}

// loadDevice reads a record of device.store. The device is nil if it was not here.
func (to *session) loadDevice(value string) (d *device, ok bool) {
	f := fields{b: []byte(value)}
	flags := f.byte()
	keepAlive, sleep := f.uvarint(), f.uvarint()
	identity, addr, node := f.string(), f.string(), f.string()
	if f.bad {
		return nil, false
	}
	to.device = &deviceSession{}
	to.srv.remembered++
	if len(f.b) > 0 {
		m, err := to.srv.decodeRecord(f.b)
		if err != nil {
			return nil, false
		}
		to.device.will = &will{Message: cloneMessage(m.Message)}
	}
	if flags&recordHere == 0 {
		return nil, true
	}
	d = &device{
		secure: flags&recordSecure != 0, identity: identity, clean: flags&recordClean != 0, state: active,
		sleep: uint16(sleep), met: to.srv.now - time.Hour,
	}
	d.doubt()
	d.verified = d.verified || flags&recordVerified != 0
	d.repeats.Duration = uint16(keepAlive)
	if flags&recordAsleep != 0 {
		d.state = asleep
	}
	if at, err := netip.ParseAddrPort(addr); err == nil && !d.secure {
		d.at.deviceKey = deviceKey{addr: at, node: node}
	}
	return d, true
}

// loadTopicID reads a record of device.saveID.
func (to *session) loadTopicID(rest, name string) bool {
	if len(rest) != 2 || to.device == nil || codec.ValidTopic([]byte(name)) != nil {
		return false
	}
	n := binary.BigEndian.Uint16([]byte(rest))
	if !to.device.ids.Set(n, name) {
		return false
	}
	to.device.ids.SetKnown(n, true) // it says so if it does not
	return true
}

// restoreDevices brings back the devices that were here, but for those that may not be any
// more: the users file may have changed.
func (s *Server) restoreDevices(devices map[*session]*device) {
	for to, d := range devices {
		d.restore(to)
	}
	for to, d := range devices { // when all are there, as their wills go to others
		if why := s.forbids(to.user); why != "" {
			d.conn.end(why)
		}
	}
}

// restore makes the device what it was when the gateway went down. Its clock begins anew.
func (d *device) restore(to *session) {
	s := to.srv
	c := &d.conn
	*c = conn{srv: s, dev: d, version: codec.V5, heard: s.now, user: to.user, receiveMax: 1, will: to.will}
	s.conns[c] = struct{}{}
	if d.at.addr.IsValid() {
		s.devices[d.at.deviceKey] = d
	}
	to.attach(c)
	to.save()
	if d.state == asleep {
		d.setKeepAlive(d.sleep)
	} else {
		d.setKeepAlive(d.repeats.Duration)
	}
}
