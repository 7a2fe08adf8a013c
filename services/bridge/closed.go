package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/services/bridge/escape"
	"headwater/streams"
)

// closings maps nats-server's reasons to close the connection of a device to values of a
// metric's label. A message that nats-server refuses, such as one whose topic has a space,
// is a protocol violation to it.
var closings = map[string]string{
	"Authentication Timeout":           "log-in",
	"Authentication Failure":           "log-in",
	"Authentication Expired":           "log-in",
	"Slow Consumer (Pending Bytes)":    "slow",
	"Slow Consumer (Write Deadline)":   "slow",
	"Parse Error":                      "refused",
	"Protocol Violation":               "refused",
	"Maximum Message Payload Exceeded": "refused",
	"Maximum Control Line Exceeded":    "refused",
	"Message Header Violation":         "refused",
	"Stale Connection":                 "silent",
	"Duplicate Client ID":              "replaced",
	"Kicked":                           "credential",
}

// ordinary are the reasons that need no attention.
var ordinary = map[string]bool{
	"Client Closed": true, "Read Error": true, "Write Error": true, "Server Shutdown": true,
}

// countClosed counts the connections of devices that nats-server closes, until ctx ends.
// Nats-server's own log names the device.
func (s *Service) countClosed(ctx context.Context, nc *nats.Conn) error {
	sub, err := nc.Subscribe(streams.DeviceDisconnects, func(msg *nats.Msg) {
		var event struct {
			Reason string `json:"reason"`
			Client struct {
				Host string `json:"host"`
				Name string `json:"name"`
				MQTT string `json:"client_id"`
				User string `json:"user"`
			} `json:"client"`
		}
		if err := json.Unmarshal(msg.Data, &event); err != nil || ordinary[event.Reason] {
			return
		}
		reason, known := closings[event.Reason]
		if !known {
			reason = "other"
		}
		s.metrics.closed.WithLabelValues(reason).Inc()
		if reason == "refused" {
			client, host := cmp.Or(event.Client.MQTT, event.Client.Name), event.Client.Host
			if o, err := s.seal.Open(event.Client.User, client); err == nil {
				// It came through a front, whose address nats-server sees.
				client, host = escape.Shown(client), o.Host
			}
			s.refusals.closed(client, host, event.Reason, time.Now())
		}
	})
	if err != nil {
		return fmt.Errorf("listen for closed connections: %w", err)
	}
	<-ctx.Done()
	// An error means that the connection is closed, and the subscription with it.
	_ = sub.Unsubscribe()
	return nil
}
