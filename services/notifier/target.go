package notifier

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/internal/links"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/policy"
	"headwater/services/rule"
	"headwater/streams"
)

// target is the channel that a sender delivers to. One goroutine only.
type target interface {
	// send delivers the message in one attempt. Its error is a *channel.Error.
	send(ctx context.Context, m channel.Message) error
	// close closes the connections.
	close()
}

// remote is a target in the network. It reads the file of a secret before every
// message, so that a secret can be changed or fixed while a message waits.
type remote struct {
	cfg config.Channel
	// secrets is the folder that relative paths start from.
	secrets string
	// sender sends to address; nil before the first message.
	sender  channel.Sender
	address channel.Address
}

func (t *remote) send(ctx context.Context, m channel.Message) error {
	address, err := t.read()
	if err != nil {
		return err
	}
	if t.sender == nil || address != t.address {
		sender, err := channel.Open(t.cfg, address)
		if err != nil {
			return &channel.Error{Reason: err.Error()}
		}
		t.close()
		t.sender, t.address = sender, address
	}
	return t.sender.Send(ctx, m)
}

func (t *remote) close() {
	if t.sender != nil {
		t.sender.Close()
	}
}

// read returns the address, with what is in files. A file may exist in a moment, and until
// then the message waits.
func (t *remote) read() (channel.Address, error) {
	address := channel.Address{URL: t.cfg.URL, Secret: t.cfg.Secret}
	for _, s := range []struct {
		field, file string
		into        *config.Secret
	}{{"url_file", t.cfg.URLFile, &address.URL}, {"secret_file", t.cfg.SecretFile, &address.Secret}} {
		if s.file == "" {
			continue
		}
		path := s.file
		if !filepath.IsAbs(path) {
			path = filepath.Join(t.secrets, path)
		}
		text, err := process.ReadSecret(path)
		if err == nil && text == "" {
			err = fmt.Errorf("read secret: %s is empty", path)
		}
		if err != nil {
			return channel.Address{}, &channel.Error{Reason: s.field + ": " + err.Error()}
		}
		*s.into = config.Secret(text)
	}
	return address, nil
}

// outgoing returns a message as channels take it. Waited is the time since it was
// committed. Address is the dashboard's, which may be empty.
func outgoing(k key, m *alertingv1.Message, waited time.Duration, address string) channel.Message {
	out := channel.Message{Key: k.String(), Title: m.GetTitle(), Body: m.GetBody(), Home: address}
	if waited >= policy.Late {
		out.Body += "\nThis message is " + figure.Duration(waited) + " late."
	}
	worst := m.GetAlerts()[0]
	for _, a := range m.GetAlerts() {
		if a.GetSeverity() > worst.GetSeverity() {
			worst = a
		}
		out.Alerts = append(out.Alerts, outgoingAlert(a, address))
	}
	if isReport(worst) {
		out.Alerts[0].URL = address
	}
	out.URL = out.Alerts[0].URL
	if len(out.Alerts) > 1 {
		out.URL = publicurl.Alerts(address)
	}
	out.Severity = ruleSeverity(worst.GetSeverity())
	out.Resolved = worst.GetState() == alertingv1.State_STATE_RESOLVED
	return out
}

func outgoingAlert(a *alertingv1.Alert, address string) channel.Alert {
	e, place := a.GetEvidence(), placeOf(a)
	out := channel.Alert{
		ID: streams.EpisodeID(a), AlertID: a.GetId(), Rule: a.GetRule(), Description: a.GetDescription(), Status: channel.StatusFiring,
		Severity: ruleSeverity(a.GetSeverity()), Site: a.GetSeries().GetSite(), Device: a.GetSeries().GetDevice(),
		Metric: a.GetSeries().GetMetric(), Unit: a.GetUnit(), Sentence: e.GetSentence(),
		Labels: a.GetLabels(), Runbook: a.GetRunbook(),
		Started: moment(a.GetStarted(), place), Learned: moment(a.GetLearned(), place),
		URL: publicurl.Device(address, a.GetSeries().GetSite(), a.GetSeries().GetDevice(), moment(a.GetUpdated(), place)),
	}
	if a.GetRule() == rule.HealthName {
		out.URL = publicurl.Pipeline(address)
	}
	if e != nil {
		out.Value, out.Low, out.High = finite(&e.Value), finite(e.Low), finite(e.High)
		if s := finite(&e.Score); s != nil {
			out.Score = *s
		}
	}
	if n := a.GetAcknowledged(); n != nil {
		out.Acknowledged = &channel.Note{By: n.GetAuthor(), At: moment(n.GetTime(), place), Text: n.GetText()}
	}
	if n := a.GetResolved(); n != nil {
		out.Resolved = &channel.Note{By: n.GetAuthor(), At: moment(n.GetTime(), place), Text: n.GetText()}
	}
	if a.GetState() == alertingv1.State_STATE_RESOLVED {
		ended := moment(a.GetEnded(), place)
		out.Status, out.Ended = channel.StatusResolved, &ended
		out.End, out.EndSentence = endOf(a), a.GetEnding().GetSentence()
	}
	return out
}

// actions returns what people may do about the only alert of a message while it fires.
func actions(key []byte, name string, m *alertingv1.Message, now time.Time) []channel.Action {
	if key == nil || len(m.GetAlerts()) != 1 || isReport(m.GetAlerts()[0]) || m.GetAlerts()[0].GetState() != alertingv1.State_STATE_FIRING {
		return nil
	}
	var all []channel.Action
	for _, a := range []struct {
		action links.Action
		title  string
	}{{links.Acknowledge, "Acknowledge"}, {links.Mute, "Silence 1 h"}} {
		token := links.Sign(key, links.Link{Action: a.action, Episode: streams.EpisodeID(m.GetAlerts()[0]), Channel: name, Expires: now.Add(links.Age)})
		all = append(all, channel.Action{Name: string(a.action), Title: a.title, URL: links.Path + token})
	}
	return all
}

func moment(nanos int64, place *time.Location) time.Time { return time.Unix(0, nanos).In(place) }
