package alerts

import (
	"errors"
	"net/url"
	"time"

	"headwater/proto/figure"
	"headwater/web/app"
	"headwater/web/view"
)

// Bounds of how long people may mute.
const (
	shortestMute = time.Minute
	longestMute  = 366 * 24 * time.Hour
)

// untilResolved is the length of a silence that ends with the alerts that fire
// now.
const untilResolved = "resolved"

// silence reads a silence as people ask for it. A page names one series and how
// much of it is meant.
func silence(v url.Values, now time.Time) (view.Silence, error) {
	s := view.Silence{Rule: v.Get("rule"), Site: v.Get("site"), Device: v.Get("device"), Metric: v.Get("metric"), From: now}
	for _, p := range []struct{ name, value string }{{"rule", s.Rule}, {"site", s.Site}, {"device", s.Device}, {"metric", s.Metric}} {
		if p.value != "" && !app.ValidToken(p.value) {
			return s, app.TokenError(p.name)
		}
	}
	switch v.Get("scope") {
	case "", "series":
	case "device":
		s.Rule, s.Metric = "", ""
	case "rule":
		s.Site, s.Device, s.Metric = "", "", ""
	default:
		return s, errors.New("scope must be series, device or rule")
	}
	if s.Rule == "" && s.Site == "" && s.Device == "" && s.Metric == "" {
		return s, errors.New("rule, site, device or metric must say which alerts are meant")
	}
	if v.Get("for") == untilResolved {
		s.UntilResolved = true
		return s, nil
	}
	d, err := figure.ParseDuration(v.Get("for"))
	if err != nil || d < shortestMute || d > longestMute {
		return s, errors.New("for must be a time from 1m to 8784h, like 8h, or resolved")
	}
	s.Until = now.Add(d)
	return s, nil
}
