package clients

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// paho5 is Eclipse Paho's Go client for MQTT 5.
type paho5 struct {
	mqtt *paho.Client
	came chan message
}

func newPaho5(*testing.T) client { return &paho5{came: make(chan message, 1000)} }

func (c *paho5) connect(o options) (bool, error) {
	nc, err := dial(o)
	if err != nil {
		return false, err
	}
	c.mqtt = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(nc),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			c.came <- received(r.Packet)
			return true, nil
		}},
	})
	connect := &paho.Connect{ClientID: o.id, CleanStart: !o.persist, KeepAlive: 30}
	if o.persist {
		hour := uint32(3600)
		connect.Properties = &paho.ConnectProperties{SessionExpiryInterval: &hour}
	}
	if o.will != nil {
		connect.WillMessage = &paho.WillMessage{Topic: o.will.Topic, Payload: []byte(o.will.Payload), QoS: o.will.QoS, Retain: o.will.Retain}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	connack, err := c.mqtt.Connect(ctx, connect)
	if err != nil {
		return false, err
	}
	return connack.SessionPresent, nil
}

// dial opens the connection, which this library leaves to its user. WebSocket is
// that of Eclipse Paho's other client for Go.
func dial(o options) (net.Conn, error) {
	u, err := url.Parse(o.url)
	if err != nil {
		return nil, err
	}
	config, err := trusting(o.ca)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "tcp":
		return net.Dial("tcp", u.Host)
	case "tls":
		return tls.Dial("tcp", u.Host, config)
	}
	return mqtt.NewWebsocket(o.url, config, patience, nil, nil)
}

func received(p *paho.Publish) message {
	m := message{Topic: p.Topic, Payload: string(p.Payload), QoS: p.QoS, Retain: p.Retain, ContentType: p.Properties.ContentType}
	if p.Properties.MessageExpiry != nil {
		m.Expiry = *p.Properties.MessageExpiry
	}
	for _, u := range p.Properties.User {
		m.User = append(m.User, u.Key, u.Value)
	}
	return m
}

func (c *paho5) subscribe(filter string, qos byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.mqtt.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (c *paho5) publish(m message) error {
	p := &paho.Publish{
		Topic: m.Topic, Payload: []byte(m.Payload), QoS: m.QoS, Retain: m.Retain,
		Properties: &paho.PublishProperties{ContentType: m.ContentType},
	}
	if m.Expiry > 0 {
		p.Properties.MessageExpiry = &m.Expiry
	}
	for i := 0; i < len(m.User); i += 2 {
		p.Properties.User.Add(m.User[i], m.User[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.mqtt.Publish(ctx, p)
	return err
}

func (c *paho5) messages() <-chan message { return c.came }

func (c *paho5) disconnect() { _ = c.mqtt.Disconnect(&paho.Disconnect{}) }
