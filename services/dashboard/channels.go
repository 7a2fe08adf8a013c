package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/services/internal/audit"
	"headwater/services/internal/config"
	"headwater/services/internal/configstore"
	"headwater/services/internal/links"
	"headwater/services/internal/webpush"
	"headwater/streams"
	"headwater/web/channels"
	"headwater/web/view"
)

const (
	// deliveriesKept is how many outcomes are kept of each channel.
	deliveriesKept = 30
	// namedIn is how many places a refusal lists that name a channel.
	namedIn = 5
	// pushChannel is the name of the channel that the first device makes.
	pushChannel = "phones"
)

// deliveryLog has the latest outcomes of each channel. It is safe for concurrent use.
type deliveryLog struct {
	mu  sync.Mutex
	all map[string][]channels.Delivery // the oldest first; guarded by mu
}

func (l *deliveryLog) add(channel string, d *alertingv1.Delivery) {
	one := channels.Delivery{At: at(d.GetTime()), Title: clip(d.GetTitle()), Outcome: channels.Sent, Attempts: int(d.GetAttempts()), Error: clip(d.GetError())}
	switch d.GetOutcome() {
	case alertingv1.Outcome_OUTCOME_FAILED:
		one.Outcome = channels.Failed
	case alertingv1.Outcome_OUTCOME_SKIPPED:
		one.Outcome = channels.Skipped
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[string][]channels.Delivery)
	}
	if _, known := l.all[channel]; !known && len(l.all) >= maxChannels {
		return
	}
	kept := append(l.all[channel], one)
	l.all[channel] = kept[max(0, len(kept)-deliveriesKept):]
}

// of returns the outcomes of a channel, the newest first.
func (l *deliveryLog) of(channel string) []channels.Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := slices.Clone(l.all[channel])
	slices.Reverse(all)
	return all
}

// channelSource implements channels.Source.
type channelSource struct {
	js         jetstream.JetStream
	rules      *ruleSource
	deliveries *deliveryLog
	changes    recorder
	alerts     alertSource
}

// link returns what a link in a message does, and the alert that it is about.
func (s channelSource) link(ctx context.Context, token string) (*webpush.Store, links.Link, view.Alert, error) {
	store, err := s.push(ctx)
	if err != nil {
		return nil, links.Link{}, view.Alert{}, err
	}
	key, err := store.LinkKey(ctx)
	if err != nil {
		return nil, links.Link{}, view.Alert{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	l, err := links.Parse(key, token, time.Now())
	switch {
	case errors.Is(err, links.ErrExpired):
		return nil, l, view.Alert{}, channels.Refusal{Status: http.StatusGone, Text: err.Error()}
	case err != nil:
		return nil, l, view.Alert{}, channels.Refusal{Status: http.StatusNotFound, Text: err.Error()}
	}
	id, _, err := streams.ParseEpisodeID(l.Episode)
	if err != nil {
		return nil, l, view.Alert{}, channels.Refusal{Status: http.StatusNotFound, Text: links.ErrInvalid.Error()}
	}
	a, known := s.alerts.Book.Alert(id)
	if !known || a.Episode != l.Episode || !a.Active() {
		return nil, l, a, channels.Refusal{Status: http.StatusConflict, Text: "this alert is over"}
	}
	return store, l, a, nil
}

// Linked implements channels.Source.
func (s channelSource) Linked(ctx context.Context, token string) (channels.Linked, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	_, l, a, err := s.link(ctx, token)
	return linked(l, a), err
}

func linked(l links.Link, a view.Alert) channels.Linked {
	return channels.Linked{
		Mutes: l.Action == links.Mute, What: cmp.Or(a.Description, a.Rule), Where: a.Device + " at " + a.Site, Why: a.Sentence,
		Acknowledged: a.State == view.AlertAcknowledged,
	}
}

// Act implements channels.Source.
func (s channelSource) Act(ctx context.Context, token string) (channels.Linked, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, l, a, err := s.link(ctx, token)
	if err != nil {
		return channels.Linked{}, err
	}
	err = store.Use(ctx, links.ID(token), time.Until(l.Expires)+time.Minute)
	switch {
	case errors.Is(err, webpush.ErrUsed):
		return linked(l, a), channels.Refusal{Status: http.StatusGone, Text: err.Error()}
	case err != nil:
		return linked(l, a), fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	author := cmp.Or(view.PrincipalOf(ctx).Name, "link of channel "+l.Channel)
	if l.Action == links.Mute {
		now := time.Now()
		_, err = s.alerts.Mute(ctx, view.Silence{Rule: a.Rule, Site: a.Site, Device: a.Device, Metric: a.Metric, From: now, Until: now.Add(links.MuteFor), Author: author})
	} else {
		_, err = s.alerts.Handle(ctx, l.Episode, view.AlertAcknowledge, view.Note{Author: author, At: time.Now()})
	}
	if err != nil {
		if err := store.Unuse(context.WithoutCancel(ctx), links.ID(token)); err != nil {
			s.rules.log.Warn("a link of a message stays used although it did nothing", "err", err)
		}
		if errors.Is(err, view.ErrOver) {
			err = channels.Refusal{Status: http.StatusConflict, Text: "this alert is over"}
		}
		return linked(l, a), err
	}
	return linked(l, a), nil
}

// Channels implements channels.Source.
func (s channelSource) Channels() (channels.List, error) {
	_, c, err := s.rules.ready()
	if err != nil {
		return channels.List{}, err
	}
	file := s.rules.file()
	var list channels.List
	if at := c.Report; at.Channel != "" {
		list.Report = &channels.Report{At: at.At.String(), Zone: c.ReportZone(), Channel: at.Channel, Site: at.Site}
	}
	for _, ch := range c.Channels {
		one := channels.Channel{
			Name: ch.Name, Type: string(ch.Type), To: leadsTo(ch), Resolved: ch.Resolved, ReadOnly: !ch.FromPage && file != "",
			Format: ch.Format, Signed: ch.Secret != "" || ch.SecretFile != "",
			Deliveries: s.deliveries.of(ch.Name),
		}
		if one.ReadOnly {
			list.Where = "Channels are changed in " + file + "; a change takes effect at once."
		}
		list.Channels = append(list.Channels, one)
	}
	return list, nil
}

// leadsTo says where a channel leads, without what may be secret.
func leadsTo(ch config.Channel) string {
	if ch.URLFile != "" {
		return "the URL in " + ch.URLFile
	}
	u, err := url.Parse(ch.URL.Reveal())
	switch {
	case err != nil || ch.Type == config.WebPush:
		return ""
	case ch.Type == config.Shoutrrr:
		return u.Scheme
	}
	return u.Host
}

// SaveChannel implements channels.Source.
func (s channelSource) SaveChannel(ctx context.Context, d channels.Draft, by view.Author) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	if !config.ValidChannelName(d.Name) {
		return channels.Refusal{Status: http.StatusBadRequest, Text: "the name must be 1 to 64 characters of a-z, 0-9 and -"}
	}
	store, err := s.rules.store(ctx)
	if err != nil {
		return err
	}
	entry := audit.Entry{Who: by.Who, Action: audit.ChannelSave, Object: d.Name}
	v, err := store.SaveChannel(ctx, d.Name, authorOf(by), func(was *config.Channel) (config.Channel, error) {
		switch {
		case d.New && was != nil:
			return *was, channels.Refusal{Status: http.StatusConflict, Text: "there is a channel of that name already"}
		case !d.New && was == nil:
			return config.Channel{}, configstore.ErrNoChannel
		}
		now := drafted(d, was)
		entry.Before, entry.After = channelWords(was), channelWords(&now)
		return now, nil
	})
	s.changes.record(ctx, entry, err)
	if err != nil {
		return channelError(err)
	}
	s.rules.take(v)
	return nil
}

// drafted returns a channel as people want it. What they leave empty of what is secret stays
// as it was, as long as the channel stays of its type.
func drafted(d channels.Draft, was *config.Channel) config.Channel {
	now := config.Channel{Name: d.Name, Type: config.ChannelType(d.Type), Resolved: d.Resolved}
	if was != nil && was.Type == now.Type {
		now.URL, now.URLFile, now.Secret, now.SecretFile = was.URL, was.URLFile, was.Secret, was.SecretFile
	}
	if d.URL != "" {
		now.URL, now.URLFile = config.Secret(d.URL), ""
	}
	if d.Secret != "" || d.Unsigned {
		now.Secret, now.SecretFile = config.Secret(d.Secret), ""
	}
	if now.Type == config.Webhook {
		now.Format = cmp.Or(d.Format, config.FormatHeadwater)
	}
	return now
}

// channelWords says what a channel is for the audit, without what is secret. Nil is nothing.
func channelWords(ch *config.Channel) string {
	if ch == nil {
		return ""
	}
	words := "type " + string(ch.Type)
	if to := leadsTo(*ch); to != "" {
		words += ", to " + to
	}
	if ch.Format == config.FormatAlertmanager {
		words += ", format " + ch.Format
	}
	if ch.Secret != "" || ch.SecretFile != "" {
		words += ", signed"
	}
	if !ch.Resolved {
		words += ", not notified of ends"
	}
	return words
}

// DeleteChannel implements channels.Source.
func (s channelSource) DeleteChannel(ctx context.Context, name string, by view.Author) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.rules.store(ctx)
	if err != nil {
		return err
	}
	entry := audit.Entry{Who: by.Who, Action: audit.ChannelDelete, Object: name}
	if _, c, err := s.rules.ready(); err == nil {
		if i := slices.IndexFunc(c.Channels, func(ch config.Channel) bool { return ch.Name == name }); i >= 0 {
			entry.Before = channelWords(&c.Channels[i])
		}
	}
	v, err := store.DeleteChannel(ctx, name, authorOf(by))
	s.changes.record(ctx, entry, err)
	if problems := config.Problems(err); problems != nil {
		where := make([]string, len(problems))
		for i, p := range problems {
			where[i] = strings.TrimSpace(p.File + " " + p.Field)
		}
		return channels.Refusal{Status: http.StatusConflict, Text: "it is still named in " + strings.Join(where[:min(len(where), namedIn)], ", ")}
	}
	if err != nil {
		return channelError(err)
	}
	s.rules.take(v)
	return nil
}

// TestChannel implements channels.Source.
func (s channelSource) TestChannel(ctx context.Context, channel, device string) error {
	ctx, cancel := context.WithTimeout(ctx, streams.ChannelTestWithin)
	defer cancel()
	if !config.ValidChannelName(channel) || device != "" && !streams.ValidToken(device) {
		return channels.Refusal{Status: http.StatusNotFound, Text: "there is no such channel"}
	}
	err := s.test(ctx, streams.ChannelTest{Channel: channel, Device: device})
	s.changes.record(ctx, audit.Entry{Action: audit.ChannelTest, Object: strings.TrimSuffix(channel+"/"+device, "/")}, err)
	return err
}

// SendReport implements channels.Source.
func (s channelSource) SendReport(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, streams.ChannelTestWithin)
	defer cancel()
	_, c, err := s.rules.ready()
	if err != nil {
		return err
	}
	if c.Report.Channel == "" {
		return channels.Refusal{Status: http.StatusNotFound, Text: "no morning report is declared: report in the configuration says when and where it goes"}
	}
	err = s.test(ctx, streams.ChannelTest{Channel: c.Report.Channel, Report: true})
	s.changes.record(ctx, audit.Entry{Action: audit.ReportSend, Object: c.Report.Channel}, err)
	return err
}

func (s channelSource) test(ctx context.Context, t streams.ChannelTest) error {
	if s.js.Conn().Status() != nats.CONNECTED {
		return fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	body, err := t.Encode()
	if err != nil {
		return err
	}
	msg, err := s.js.Conn().RequestWithContext(ctx, streams.ChannelTests, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return channels.Refusal{Status: http.StatusServiceUnavailable, Text: "no notifier runs that could send it"}
	case err != nil:
		return channels.Refusal{Status: http.StatusGatewayTimeout, Text: "it is not known whether it was sent: " + reason(err)}
	}
	var answer streams.ChannelTested
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return fmt.Errorf("decode the outcome of a test: %w", err)
	}
	if answer.Error != "" {
		what := "the test"
		if t.Report {
			what = "the report"
		}
		return channels.Refusal{Status: http.StatusBadGateway, Text: what + " was not delivered: " + answer.Error}
	}
	return nil
}

// push opens the store of browsers.
func (s channelSource) push(ctx context.Context) (*webpush.Store, error) {
	if s.js.Conn().Status() != nats.CONNECTED {
		return nil, fmt.Errorf("%w: NATS does not answer", view.ErrUnavailable)
	}
	store, err := webpush.Open(ctx, s.js)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return store, nil
}

// PushKey implements channels.Source.
func (s channelSource) PushKey(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.push(ctx)
	if err != nil {
		return "", err
	}
	keys, err := store.Keys(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return keys.Public()
}

// Notified implements channels.Source.
func (s channelSource) Notified(ctx context.Context) ([]channels.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.push(ctx)
	if err != nil {
		return nil, err
	}
	all, err := store.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	out := make([]channels.Device, len(all))
	for i, d := range all {
		out[i] = shownDevice(d)
	}
	return out, nil
}

func shownDevice(d webpush.Device) channels.Device {
	out := channels.Device{ID: d.ID, Name: cmp.Or(d.Name, "A browser"), Who: d.Who, Created: d.Created}
	if u, err := url.Parse(d.Endpoint); err == nil {
		out.Service = u.Hostname()
	}
	return out
}

// AddNotified implements channels.Source.
func (s channelSource) AddNotified(ctx context.Context, sub channels.Subscription) (channels.Device, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.push(ctx)
	if err != nil {
		return channels.Device{}, err
	}
	d := webpush.Device{
		Subscription: webpush.Subscription{Endpoint: sub.Endpoint, P256dh: sub.P256dh, Auth: sub.Auth}, Name: sub.Name, Who: sub.Who,
	}
	if err := d.Check(); err != nil {
		return channels.Device{}, channels.Refusal{Status: http.StatusBadRequest, Text: err.Error()}
	}
	if err := s.ensurePush(ctx); err != nil {
		return channels.Device{}, err
	}
	d, err = store.Save(ctx, d)
	s.changes.record(ctx, audit.Entry{Action: audit.PushAdd, Object: cmp.Or(sub.Name, "a browser"), After: shownDevice(d).Service}, err)
	switch {
	case errors.Is(err, webpush.ErrFull):
		return channels.Device{}, channels.Refusal{Status: http.StatusConflict, Text: err.Error()}
	case err != nil:
		return channels.Device{}, fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return shownDevice(d), nil
}

// ensurePush makes a channel of type webpush unless there is one.
func (s channelSource) ensurePush(ctx context.Context) error {
	_, c, err := s.rules.ready()
	if err != nil {
		return err
	}
	is := func(ch config.Channel) bool { return ch.Type == config.WebPush }
	if slices.ContainsFunc(c.Channels, is) {
		return nil
	}
	store, err := s.rules.store(ctx)
	if err != nil {
		return err
	}
	author := authorOf(view.Author{Who: cmp.Or(view.PrincipalOf(ctx).Name, "unknown user")})
	v, err := store.SaveChannel(ctx, pushChannel, author, func(was *config.Channel) (config.Channel, error) {
		if was != nil && !is(*was) {
			return *was, channels.Refusal{Status: http.StatusConflict, Text: "the channel " + pushChannel + " is of another type: declare one of type webpush in the configuration"}
		}
		return config.Channel{Name: pushChannel, Type: config.WebPush, Resolved: true}, nil
	})
	s.changes.record(ctx, audit.Entry{Action: audit.ChannelSave, Object: pushChannel, After: "type webpush"}, err)
	if err != nil {
		return channelError(err)
	}
	s.rules.take(v)
	return nil
}

// channelError translates an error of the store for the page.
func channelError(err error) error {
	if refused, ok := errors.AsType[channels.Refusal](err); ok {
		return refused
	}
	if problems := config.Problems(err); problems != nil {
		return channels.Refusal{Status: http.StatusBadRequest, Text: strings.TrimSpace(problems[0].Field + " " + problems[0].Text)}
	}
	if errors.Is(err, configstore.ErrNoChannel) {
		return channels.Refusal{Status: http.StatusNotFound, Text: "there is no such channel"}
	}
	if errors.Is(err, configstore.ErrChannelFile) || errors.Is(err, configstore.ErrConflict) {
		return channels.Refusal{Status: http.StatusConflict, Text: err.Error()}
	}
	return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
}

// RemoveNotified implements channels.Source.
func (s channelSource) RemoveNotified(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	store, err := s.push(ctx)
	if err != nil {
		return err
	}
	all, err := store.Devices(ctx)
	if err != nil {
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	i := slices.IndexFunc(all, func(d webpush.Device) bool { return d.ID == id })
	if i < 0 {
		return nil // it is what was asked for
	}
	err = store.Delete(ctx, id)
	s.changes.record(ctx, audit.Entry{Action: audit.PushRemove, Object: shownDevice(all[i]).Name, Before: shownDevice(all[i]).Service}, err)
	if err != nil {
		return fmt.Errorf("%w: %s", view.ErrUnavailable, reason(err))
	}
	return nil
}
