package clients

import (
	"errors"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// paho3 is Eclipse Paho's Go client for MQTT 3.1.1.
type paho3 struct {
	mqtt mqtt.Client
	came chan message
}

func newPaho3(*testing.T) client { return &paho3{came: make(chan message, 1000)} }

func (c *paho3) connect(o options) (bool, error) {
	config, err := trusting(o.ca)
	if err != nil {
		return false, err
	}
	opts := mqtt.NewClientOptions().AddBroker(o.url).SetTLSConfig(config).SetClientID(o.id).
		SetCleanSession(!o.persist).SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(patience)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		c.came <- message{Topic: m.Topic(), Payload: string(m.Payload()), QoS: m.Qos(), Retain: m.Retained()}
	})
	if o.will != nil {
		opts.SetWill(o.will.Topic, o.will.Payload, o.will.QoS, o.will.Retain)
	}
	c.mqtt = mqtt.NewClient(opts)
	token := c.mqtt.Connect().(*mqtt.ConnectToken)
	err = answered(token)
	return token.SessionPresent(), err
}

// answered waits for the answer to a request.
func answered(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return errors.New("no answer")
	}
	return token.Error()
}

func (c *paho3) subscribe(filter string, qos byte) error {
	return answered(c.mqtt.Subscribe(filter, qos, nil))
}

func (c *paho3) publish(m message) error {
	return answered(c.mqtt.Publish(m.Topic, m.QoS, m.Retain, m.Payload))
}

func (c *paho3) messages() <-chan message { return c.came }

func (c *paho3) disconnect() { c.mqtt.Disconnect(250) }
