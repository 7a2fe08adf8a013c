package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"headwater/streams"
)

// ReplayQuery asks what alerts a rule would have raised in [From, To), event
// time, its detectors having learned for Warm before.
type ReplayQuery struct {
	// Rule is the rule in YAML.
	Rule     string
	From, To time.Time
	Warm     time.Duration
}

// Replay is how a replay stands, and once it is done, what the rule would have
// raised beside what was really raised.
type Replay struct {
	streams.ReplayStatus
	// Real are the alerts that were really raised in the period on series which the
	// rule matches, by whatever rule, by their start; MoreReal says that there were
	// more than a dashboard remembers.
	Real     []RealAlert `json:"real,omitempty"`
	MoreReal bool        `json:"more_real,omitempty"`
}

// RealAlert is an alert that was really raised.
type RealAlert struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Episode
}

// ReplayRow compares what a rule would have raised on a device with what was
// really raised.
type ReplayRow struct {
	Site, Device string
	// Would counts the alerts that the rule would have raised, PerWeek those that
	// would have begun for each week.
	Would   int
	PerWeek float64
	// Same counts the real alerts of the rule of the same name, Others those of
	// other rules.
	Same, Others int
}

// Rows compares device by device, those with most alerts of the rule first.
func (r Replay) Rows() []ReplayRow {
	if r.Result == nil {
		return nil
	}
	rows := make(map[[2]string]*ReplayRow)
	row := func(site, device string) *ReplayRow {
		key := [2]string{site, device}
		if rows[key] == nil {
			rows[key] = &ReplayRow{Site: site, Device: device}
		}
		return rows[key]
	}
	for _, d := range r.Result.Devices {
		of := row(d.Site, d.Device)
		of.Would, of.PerWeek = d.Alerts, d.PerWeek
	}
	for _, a := range r.Real {
		if a.Rule == r.Result.Rule {
			row(a.Site, a.Device).Same++
		} else {
			row(a.Site, a.Device).Others++
		}
	}
	out := make([]ReplayRow, 0, len(rows))
	for _, of := range rows {
		out = append(out, *of)
	}
	slices.SortFunc(out, func(a, b ReplayRow) int {
		return cmp.Or(cmp.Compare(b.Would, a.Would), cmp.Compare(b.Same, a.Same), cmp.Compare(b.Others, a.Others),
			strings.Compare(a.Site, b.Site), strings.Compare(a.Device, b.Device))
	})
	return out
}

// Reals counts the real alerts of the rule of the same name, and of other rules.
func (r Replay) Reals() (same, others int) {
	for _, a := range r.Real {
		if r.Result != nil && a.Rule == r.Result.Rule {
			same++
		} else {
			others++
		}
	}
	return same, others
}
