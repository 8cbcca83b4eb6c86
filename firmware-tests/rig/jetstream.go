package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// requestLimit bounds one request to a node.
const requestLimit = 5 * time.Second

// Leader is the node that leads the cluster's metadata.
func (c *Cluster) Leader() (*Node, error) {
	client := http.Client{Timeout: requestLimit}
	resp, err := client.Get("http://" + c.Nodes[0].monitor + "/jsz")
	if err != nil {
		return nil, fmt.Errorf("ask for the cluster's leader: %w", err)
	}
	defer resp.Body.Close()
	var state struct {
		Meta struct {
			Leader string `json:"leader"`
		} `json:"meta_cluster"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&state); err != nil {
		return nil, fmt.Errorf("ask for the cluster's leader: %w", err)
	}
	for _, n := range c.Nodes {
		if n.Name == state.Meta.Leader {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the cluster has no leader: %+v", state)
}

// LeadAll makes n the leader of all replicated streams and consumers there are.
// It is to be called before messages flow.
//
// When a stream's lead moves under load or its leader is killed, nats-server
// answers no store for five seconds, then closes the connections that waited for
// one. Publishers that resend as they must find later messages stored before
// earlier ones, and a QoS 2 consumer may get a message twice. Whoever counts at
// the cluster while a node is killed counts the publisher's faults, and not
// these, only if that node leads nothing.
func (n *Node) LeadAll(ctx context.Context) error {
	for {
		moved, err := n.leadOthers()
		if err == nil && moved == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make %s lead: %d led by others: %w", n.Name, moved, errors.Join(ctx.Err(), err))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// leadOthers asks for the lead of what others lead, and says how many that are.
func (n *Node) leadOthers() (moved int, err error) {
	take := func(kind, name string) error {
		var info struct {
			Cluster struct {
				Leader   string `json:"leader"`
				Replicas []any  `json:"replicas"`
			} `json:"cluster"`
		}
		if err := n.request("$JS.API."+kind+".INFO."+name, "", &info); err != nil {
			return err
		}
		if info.Cluster.Leader == n.Name || len(info.Cluster.Replicas) == 0 {
			return nil
		}
		moved++
		preferred := fmt.Sprintf(`{"placement":{"preferred":%q}}`, n.Name)
		return n.request("$JS.API."+kind+".LEADER.STEPDOWN."+name, preferred, &struct{}{})
	}
	var names struct {
		Streams []string `json:"streams"`
	}
	if err := n.request("$JS.API.STREAM.NAMES", "", &names); err != nil {
		return 0, err
	}
	for _, stream := range names.Streams {
		if err := take("STREAM", stream); err != nil {
			return moved, err
		}
		var names struct {
			Consumers []string `json:"consumers"`
		}
		if err := n.request("$JS.API.CONSUMER.NAMES."+stream, "", &names); err != nil {
			return moved, err
		}
		for _, consumer := range names.Consumers {
			if err := take("CONSUMER", stream+"."+consumer); err != nil {
				return moved, err
			}
		}
	}
	return moved, nil
}

// request sends one request over the NATS protocol and decodes the answer.
func (n *Node) request(subject, body string, answer any) error {
	nc, err := net.DialTimeout("tcp", n.client, requestLimit)
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(requestLimit))
	reply := fmt.Sprintf("_INBOX.%d", nc.LocalAddr().(*net.TCPAddr).Port)
	_, err = fmt.Fprintf(nc, "CONNECT {\"verbose\":false}\r\nSUB %s 1\r\nPUB %s %s %d\r\n%s\r\n", reply, subject, reply, len(body), body)
	if err != nil {
		return err
	}
	r := bufio.NewReader(nc)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("%s: %w", subject, err)
		}
		switch {
		case strings.HasPrefix(line, "PING"):
			if _, err := nc.Write([]byte("PONG\r\n")); err != nil {
				return err
			}
		case strings.HasPrefix(line, "-ERR"):
			return fmt.Errorf("%s: %s", subject, strings.TrimSpace(line))
		case strings.HasPrefix(line, "MSG"):
			if err := json.NewDecoder(r).Decode(answer); err != nil {
				return fmt.Errorf("%s: %w", subject, err)
			}
			return nil
		}
	}
}
