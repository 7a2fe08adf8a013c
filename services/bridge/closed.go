package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"headwater/streams"
)

// closings names, as values of a metric's label, why nats-server closed the
// connection of a device that did not close it itself. What a device sends and
// nats-server refuses, such as a topic with a space or a payload over the bound
// of the stream, is a violation of the protocol to it.
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
}

// ordinary are the ends of a connection that nobody need know of.
var ordinary = map[string]bool{
	"Client Closed": true, "Read Error": true, "Write Error": true, "Server Shutdown": true,
}

// countClosed counts the connections of devices that nats-server closes, until
// ctx ends. Which device it was stands in nats-server's own log.
func (s *Service) countClosed(ctx context.Context, nc *nats.Conn) error {
	sub, err := nc.Subscribe(streams.DeviceDisconnects, func(msg *nats.Msg) {
		var event struct {
			Reason string `json:"reason"`
			Client struct {
				Host string `json:"host"`
				Name string `json:"name"`
				MQTT string `json:"client_id"`
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
			s.refusals.closed(cmp.Or(event.Client.MQTT, event.Client.Name), event.Client.Host, event.Reason, time.Now())
		}
	})
	if err != nil {
		return fmt.Errorf("listen for closed connections: %w", err)
	}
	<-ctx.Done()
	// An error means that the connection has gone, and the subscription with it.
	_ = sub.Unsubscribe()
	return nil
}
