package notifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headwater/services/internal/config"
	"headwater/services/notifier/channel"
	"headwater/services/rule"
	"headwater/streams"
)

// testsWaiting is how many requests for a test may wait.
const testsWaiting = 16

// serveTests sends the tests that people ask for, one after the other, until ctx ends. The
// outcome is the answer, and is not recorded: a test is no notification.
func (s *Service) serveTests(ctx context.Context) {
	nc := s.js.Conn()
	if nc == nil {
		return // a simulation
	}
	requests := make(chan *nats.Msg, testsWaiting)
	sub, err := nc.ChanSubscribe(streams.ChannelTests, requests)
	if err != nil {
		s.log.Warn("channels cannot be tested", "err", err)
		return
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-requests:
			var answer streams.ChannelTested
			if err := s.test(ctx, msg.Data); err != nil {
				answer.Error = err.Error()
			}
			body, err := json.Marshal(answer)
			if err == nil {
				err = msg.Respond(body)
			}
			if err != nil {
				s.log.Warn("the outcome of a test was not answered", "err", err)
			}
		}
	}
}

// test sends one test.
func (s *Service) test(ctx context.Context, body []byte) error {
	asked, err := streams.DecodeChannelTest(body)
	if err != nil {
		return err
	}
	ch, err := s.channel(ctx, asked.Channel)
	if err != nil {
		return err
	}
	to := s.open(ch)
	if p, ok := to.(*phones); ok {
		p.only = asked.Device
	}
	defer to.close()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	m := testMessage(ch.Name, s.cfg.PublicURL, time.Now())
	if asked.Report {
		text := s.preview.Load()
		if text == nil || text.channel != ch.Name {
			return errors.New("there is no morning report yet: it is declared in the configuration, and written within a minute after that")
		}
		m = reportNow(m, text)
	}
	return to.send(ctx, m)
}

// reportNow turns a test into the morning report that somebody asked for.
func reportNow(m channel.Message, text *reportText) channel.Message {
	m.Key = strings.Replace(m.Key, "test", "report", 1)
	m.Title, m.Body = text.title, text.body
	a := &m.Alerts[0]
	a.ID, a.AlertID, a.Rule, a.Description, a.Device, a.Metric = m.Key, "report", reportRule, aboutTheReport, "headwater", "report"
	return m
}

// channel returns a channel of the configuration in force.
func (s *Service) channel(ctx context.Context, name string) (config.Channel, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	kv, err := s.js.KeyValue(ctx, streams.BucketConfig)
	if err != nil {
		return config.Channel{}, fmt.Errorf("open bucket %s: %w", streams.BucketConfig, err)
	}
	entry, err := kv.Get(ctx, streams.ConfigKey)
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) {
		return config.Channel{}, fmt.Errorf("read key %s of bucket %s: %w", streams.ConfigKey, streams.BucketConfig, err)
	}
	if err == nil {
		c, err := parse(entry.Revision(), entry.Value())
		if err != nil {
			return config.Channel{}, err
		}
		if at := slices.IndexFunc(c.Channels, func(ch config.Channel) bool { return ch.Name == name }); at >= 0 {
			return c.Channels[at], nil
		}
	}
	return config.Channel{}, fmt.Errorf("there is no channel %s", name)
}

// testMessage is a message that reads like one about an alert, and says that it is a test.
func testMessage(name, address string, now time.Time) channel.Message {
	return channel.Message{
		Key: fmt.Sprintf("test-%d", now.UnixNano()), Title: "Test of the channel " + name,
		Body:     "Headwater sends this because somebody pressed “Send a test”. All is well.",
		Severity: rule.Info, URL: address, Home: address,
		Alerts: []channel.Alert{{
			ID: "test", AlertID: "test", Rule: "test-of-the-channel", Description: "A test of the channel.", Status: channel.StatusFiring, Severity: rule.Info,
			Site: "headwater", Device: "test", Metric: "test", Started: now.UTC(), Learned: now.UTC(), URL: address,
		}},
	}
}

// testing runs serveTests beside something else.
func (s *Service) testing(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { s.serveTests(ctx) })
	return func() { cancel(); running.Wait() }
}
