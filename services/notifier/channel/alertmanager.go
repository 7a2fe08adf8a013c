package channel

import (
	"cmp"
	"maps"
	"strconv"
	"strings"
	"time"
)

// The webhook format of Alertmanager, version 4, as its documentation has it: receivers for
// it take messages of Headwater too.
type (
	alertmanagerMessage struct {
		Version           string              `json:"version"`
		GroupKey          string              `json:"groupKey"`
		TruncatedAlerts   int                 `json:"truncatedAlerts"`
		Status            string              `json:"status"`
		Receiver          string              `json:"receiver"`
		GroupLabels       map[string]string   `json:"groupLabels"`
		CommonLabels      map[string]string   `json:"commonLabels"`
		CommonAnnotations map[string]string   `json:"commonAnnotations"`
		ExternalURL       string              `json:"externalURL"`
		Alerts            []alertmanagerAlert `json:"alerts"`
	}
	alertmanagerAlert struct {
		Status       string            `json:"status"`
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
		StartsAt     time.Time         `json:"startsAt"`
		EndsAt       time.Time         `json:"endsAt"`
		GeneratorURL string            `json:"generatorURL"`
		Fingerprint  string            `json:"fingerprint"`
	}
)

func alertmanager(receiver string, m Message) alertmanagerMessage {
	out := alertmanagerMessage{
		Version: "4", GroupKey: "headwater:" + m.Key, Status: status(m), Receiver: receiver,
		GroupLabels: map[string]string{},
		ExternalURL: strings.TrimSuffix(m.Home, "/"), Alerts: make([]alertmanagerAlert, 0, len(m.Alerts)),
	}
	for _, a := range m.Alerts {
		one := alertmanagerAlert{
			Status: a.Status, StartsAt: a.Started, GeneratorURL: a.URL, Fingerprint: a.AlertID,
			Labels: map[string]string{}, Annotations: map[string]string{},
		}
		if a.Ended != nil {
			one.EndsAt = *a.Ended
		}
		maps.Copy(one.Labels, a.Labels)
		maps.Copy(one.Labels, map[string]string{
			"alertname": a.Rule, "severity": string(a.Severity), "site": a.Site, "device": a.Device, "metric": a.Metric,
		})
		for name, value := range map[string]string{
			"summary": cmp.Or(a.Description, a.Rule), "description": a.Sentence, "runbook_url": a.Runbook, "unit": a.Unit,
		} {
			if value != "" {
				one.Annotations[name] = value
			}
		}
		if a.Value != nil {
			one.Annotations["value"] = strconv.FormatFloat(*a.Value, 'g', -1, 64)
		}
		out.Alerts = append(out.Alerts, one)
	}
	out.CommonLabels = common(out.Alerts, func(a alertmanagerAlert) map[string]string { return a.Labels })
	out.CommonAnnotations = common(out.Alerts, func(a alertmanagerAlert) map[string]string { return a.Annotations })
	return out
}

// common returns the entries that all alerts have.
func common(alerts []alertmanagerAlert, of func(alertmanagerAlert) map[string]string) map[string]string {
	same := map[string]string{}
	if len(alerts) > 0 {
		maps.Copy(same, of(alerts[0]))
	}
	for _, a := range alerts {
		maps.DeleteFunc(same, func(name, value string) bool { v, there := of(a)[name]; return !there || v != value })
	}
	return same
}
