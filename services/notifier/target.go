package notifier

import (
	"context"
	"path/filepath"
	"time"

	alertingv1 "headwater/proto/alerting/v1"
	"headwater/proto/figure"
	"headwater/services/internal/config"
	"headwater/services/internal/process"
	"headwater/services/internal/publicurl"
	"headwater/services/notifier/channel"
	"headwater/services/notifier/policy"
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
	// sender sends to url; nil before the first message.
	sender channel.Sender
	url    config.Secret
}

func (t *remote) send(ctx context.Context, m channel.Message) error {
	url, err := t.address()
	if err != nil {
		return err
	}
	if t.sender == nil || url != t.url {
		sender, err := channel.Open(t.cfg.Type, url)
		if err != nil {
			return &channel.Error{Reason: err.Error()}
		}
		t.close()
		t.sender, t.url = sender, url
	}
	return t.sender.Send(ctx, m)
}

func (t *remote) close() {
	if t.sender != nil {
		t.sender.Close()
	}
}

func (t *remote) address() (config.Secret, error) {
	if t.cfg.URLFile == "" {
		return t.cfg.URL, nil
	}
	path := t.cfg.URLFile
	if !filepath.IsAbs(path) {
		path = filepath.Join(t.secrets, path)
	}
	text, err := process.ReadSecret(path)
	if err != nil {
		// It may exist in a moment, and until then the message waits.
		return "", &channel.Error{Reason: "url_file: " + err.Error()}
	}
	return config.Secret(text), nil
}

// outgoing returns a message as channels take it. Waited is the time since it was
// committed. Address is the dashboard's, which may be empty.
func outgoing(k key, m *alertingv1.Message, waited time.Duration, address string) channel.Message {
	out := channel.Message{Key: k.String(), Title: m.GetTitle(), Body: m.GetBody()}
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
	if e != nil {
		out.Value, out.Low, out.High = finite(&e.Value), finite(e.Low), finite(e.High)
		if s := finite(&e.Score); s != nil {
			out.Score = *s
		}
	}
	if a.GetState() == alertingv1.State_STATE_RESOLVED {
		ended := moment(a.GetEnded(), place)
		out.Status, out.Ended = channel.StatusResolved, &ended
	}
	return out
}

func moment(nanos int64, place *time.Location) time.Time { return time.Unix(0, nanos).In(place) }
