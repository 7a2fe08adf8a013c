package rule_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"headwater/services/rule"
)

func tooWarm() rule.Rule {
	return rule.Rule{
		Name: "too-warm", Description: "It is too warm.", Match: rule.Match{Site: "hall-*", Device: "door-[0-9]?", Metric: "temperature"},
		Detector: rule.Limit, Above: new(30.0), Below: new(-5.0), Hysteresis: 1, For: 2 * time.Minute, Notify: []string{"phone"},
	}.WithDefaults()
}

func doorLeftOpen() rule.Rule {
	return rule.Rule{Name: "door-left-open", Detector: rule.Rate, Rise: 3, Fall: 2, Within: 5 * time.Minute}.WithDefaults()
}

func TestMatches(t *testing.T) {
	r := tooWarm()
	for _, tc := range []struct {
		site, device, metric string
		want                 bool
	}{
		{"hall-a", "door-01", "temperature", true},
		{"hall-", "door-9z", "temperature", true},
		{"hall", "door-01", "temperature", false},
		{"hall-a", "door-1", "temperature", false},
		{"hall-a", "xdoor-01", "temperature", false},
		{"hall-a", "door-01", "temperature2", false},
		{"hall-a", "door-01", "Temperature", false},
	} {
		if got := r.Matches(tc.site, tc.device, tc.metric, nil); got != tc.want {
			t.Errorf("Matches(%q, %q, %q) = %v, want %v", tc.site, tc.device, tc.metric, got, tc.want)
		}
	}
	if !doorLeftOpen().Matches("any", "any", "any", nil) {
		t.Error("a rule without match should match every series")
	}
	if (rule.Rule{Match: rule.Match{Site: "["}}).Matches("[", "d", "m", nil) {
		t.Error("a malformed glob should match nothing")
	}
}

// unusual is a rule of a detector that learns.
func unusual(d rule.Detector) rule.Rule {
	return rule.Rule{Name: "unusual", Detector: d}.WithDefaults()
}

func TestDetectorsThatLearnNeedNothing(t *testing.T) {
	for _, d := range rule.Detectors() {
		if r := unusual(d); d.Learns() && (r.Validate() != nil || r.FalseAlarms != rule.DefaultFalseAlarms) {
			t.Errorf("%s: %v, %+v", d, r.Validate(), r)
		} else if !d.Learns() && r.FalseAlarms != 0 {
			t.Errorf("%s takes false alarms", d)
		}
	}
	if got := unusual(rule.Surge).Direction; got != rule.Both {
		t.Errorf("a surge counts %q", got)
	}
}

func wet() rule.Rule {
	return rule.Rule{Name: "wet", Expression: `humidity > 80 and avg("outside", "1h") < 60`, For: time.Minute}.WithDefaults()
}

func manyLabels() map[string]string {
	all := map[string]string{}
	for i := range rule.MaxTags + 1 {
		all[fmt.Sprintf("l%d", i)] = "x"
	}
	return all
}

func TestTagsOfTheDevice(t *testing.T) {
	r := tooWarm()
	r.Match.Tags = map[string]string{"kind": "door", "floor": "1"}
	for name, tc := range map[string]struct {
		tags map[string]string
		want bool
	}{
		"all of them":         {map[string]string{"kind": "door", "floor": "1", "more": "x"}, true},
		"one is missing":      {map[string]string{"kind": "door"}, false},
		"another value":       {map[string]string{"kind": "door", "floor": "2"}, false},
		"no tags at all":      {nil, false},
		"part of the value":   {map[string]string{"kind": "doors", "floor": "1"}, false},
		"a pattern is a word": {map[string]string{"kind": "*", "floor": "1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := r.Matches("hall-1", "door-11", "temperature", tc.tags); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestOnlyEnabledRulesNotify(t *testing.T) {
	for state, want := range map[rule.State]bool{rule.Enabled: true, rule.Muted: false, rule.Draft: false} {
		r := tooWarm()
		r.State = state
		r.Notify = nil
		if got := r.Notifies("phone"); got != want {
			t.Errorf("%s: %v", state, got)
		}
	}
}

func TestDefaults(t *testing.T) {
	if got := doorLeftOpen(); got.Settle != time.Hour || got.Silence != time.Hour || got.Severity != rule.Warning || !reflect.DeepEqual(got.Match, rule.Match{Site: "*", Device: "*", Metric: "*"}) {
		t.Errorf("defaults of a rate rule: %+v", got)
	}
	if got := tooWarm(); got.Settle != 0 {
		t.Errorf("a limit rule has no settle, got %v", got.Settle)
	}
}

func TestEqual(t *testing.T) {
	a, b := tooWarm(), tooWarm()
	if !a.Equal(b) {
		t.Error("two rules of the same text should be equal")
	}
	for name, change := range map[string]func(*rule.Rule){
		"name":       func(r *rule.Rule) { r.Name = "x" },
		"match":      func(r *rule.Rule) { r.Match.Site = "x" },
		"tags":       func(r *rule.Rule) { r.Match.Tags = map[string]string{"kind": "door"} },
		"detector":   func(r *rule.Rule) { r.Detector = rule.Rate },
		"above":      func(r *rule.Rule) { r.Above = new(31.0) },
		"no above":   func(r *rule.Rule) { r.Above = nil },
		"below":      func(r *rule.Rule) { r.Below = new(0.0) },
		"hysteresis": func(r *rule.Rule) { r.Hysteresis = 2 },
		"for":        func(r *rule.Rule) { r.For = 0 },
		"rise":       func(r *rule.Rule) { r.Rise = 1 },
		"fall":       func(r *rule.Rule) { r.Fall = 1 },
		"within":     func(r *rule.Rule) { r.Within = 1 },
		"settle":     func(r *rule.Rule) { r.Settle = 1 },
		"alarms":     func(r *rule.Rule) { r.FalseAlarms = 1 },
		"expression": func(r *rule.Rule) { r.Expression = "a > 1" },
		"resolve":    func(r *rule.Rule) { r.Resolve = "a > 1" },
		"metric":     func(r *rule.Rule) { r.Metric = "a" },
		"direction":  func(r *rule.Rule) { r.Direction = rule.Up },
		"share":      func(r *rule.Rule) { r.Share = 1 },
		"silence":    func(r *rule.Rule) { r.Silence = 1 },
		"severity":   func(r *rule.Rule) { r.Severity = rule.Info },
	} {
		c := tooWarm()
		change(&c)
		if a.Equal(c) || a.SameDetection(c) {
			t.Errorf("%s: the changed rule should differ", name)
		}
	}
	for name, change := range map[string]func(*rule.Rule){
		"description": func(r *rule.Rule) { r.Description = "" },
		"notify":      func(r *rule.Rule) { r.Notify = []string{"mail"} },
		"notify none": func(r *rule.Rule) { r.Notify = []string{} },
		"notify all":  func(r *rule.Rule) { r.Notify = nil },
		"state":       func(r *rule.Rule) { r.State = rule.Muted },
		"labels":      func(r *rule.Rule) { r.Labels = map[string]string{"team": "ops"} },
		"remind":      func(r *rule.Rule) { r.Remind = time.Hour },
		"runbook":     func(r *rule.Rule) { r.Runbook = "https://wiki.example.org" },
	} {
		c := tooWarm()
		change(&c)
		if a.Equal(c) || !a.SameDetection(c) {
			t.Errorf("%s: should differ in words only", name)
		}
	}
	none, all := tooWarm(), tooWarm()
	none.Notify, all.Notify = []string{}, nil
	if none.Equal(all) {
		t.Error("notify nobody and notify all should differ")
	}
	if none.Notifies("phone") || !all.Notifies("phone") || !a.Notifies("phone") || a.Notifies("mail") {
		t.Error("Notifies is wrong")
	}
}

func TestValidate(t *testing.T) {
	for _, r := range []rule.Rule{tooWarm(), doorLeftOpen(), wet()} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	for name, tc := range map[string]struct {
		base   rule.Rule
		change func(*rule.Rule)
		want   string
	}{
		"no name":               {tooWarm(), func(r *rule.Rule) { r.Name = "" }, "name: is missing"},
		"upper case":            {tooWarm(), func(r *rule.Rule) { r.Name = "Warm" }, `name: "Warm" is not a name`},
		"long name":             {tooWarm(), func(r *rule.Rule) { r.Name = strings.Repeat("ä", 40) }, "is not a name"},
		"long description":      {tooWarm(), func(r *rule.Rule) { r.Description = strings.Repeat("x", 501) }, "description: is 501 bytes long"},
		"control characters":    {tooWarm(), func(r *rule.Rule) { r.Description = "a\x1b[2J" }, "description: holds control"},
		"glob":                  {tooWarm(), func(r *rule.Rule) { r.Match.Device = "a[" }, "match.device: "},
		"long glob":             {tooWarm(), func(r *rule.Rule) { r.Match.Metric = strings.Repeat("*", 129) }, "match.metric: is 129"},
		"no detector":           {rule.Rule{Name: "a"}.WithDefaults(), func(*rule.Rule) {}, "detector: is missing"},
		"other detector":        {tooWarm(), func(r *rule.Rule) { r.Detector = "magic" }, `detector: "magic" is not a detector`},
		"no bound":              {tooWarm(), func(r *rule.Rule) { r.Above, r.Below = nil, nil }, "above: is missing"},
		"nan":                   {tooWarm(), func(r *rule.Rule) { r.Above = new(math.NaN()) }, "above: is not a finite"},
		"inf":                   {tooWarm(), func(r *rule.Rule) { r.Below = new(math.Inf(-1)) }, "below: is not a finite"},
		"crossed":               {tooWarm(), func(r *rule.Rule) { r.Below = new(30.0) }, "below: 30 is not less than above"},
		"hysteresis":            {tooWarm(), func(r *rule.Rule) { r.Hysteresis = -1 }, "hysteresis: -1 is negative"},
		"hysteresis nan":        {tooWarm(), func(r *rule.Rule) { r.Hysteresis = math.NaN() }, "hysteresis: is not a finite"},
		"hysteresis too wide":   {tooWarm(), func(r *rule.Rule) { r.Hysteresis = 18 }, "hysteresis: 18 leaves no value"},
		"for in a rate":         {doorLeftOpen(), func(r *rule.Rule) { r.For = time.Minute }, "for: belongs to limit, expression and the detectors that learn, not rate"},
		"for in silence":        {unusual(rule.Silence), func(r *rule.Rule) { r.For = time.Minute }, "for: belongs"},
		"for of a learner":      {unusual(rule.Auto), func(r *rule.Rule) { r.For = -1 }, "for: -1ns is out of range"},
		"for":                   {tooWarm(), func(r *rule.Rule) { r.For = -1 }, "for: -1ns is out of range"},
		"rise in a limit":       {tooWarm(), func(r *rule.Rule) { r.Rise = 1 }, "rise: belongs to detector rate"},
		"above in a rate":       {doorLeftOpen(), func(r *rule.Rule) { r.Above = new(1.0) }, "above: belongs to detector limit"},
		"no rise":               {doorLeftOpen(), func(r *rule.Rule) { r.Rise, r.Fall = 0, 0 }, "rise: is missing"},
		"negative fall":         {doorLeftOpen(), func(r *rule.Rule) { r.Fall = -2 }, "fall: -2 is negative"},
		"no within":             {doorLeftOpen(), func(r *rule.Rule) { r.Within = 0 }, "within: is missing"},
		"within too long":       {doorLeftOpen(), func(r *rule.Rule) { r.Within = 48 * time.Hour }, "within: 2d is out of range"},
		"settle":                {doorLeftOpen(), func(r *rule.Rule) { r.Settle = time.Millisecond }, "settle: 1ms is out of range"},
		"silence":               {doorLeftOpen(), func(r *rule.Rule) { r.Silence = 8 * 24 * time.Hour }, "silence: 8d is out of range"},
		"severity":              {doorLeftOpen(), func(r *rule.Rule) { r.Severity = "loud" }, `severity: "loud" is not a severity`},
		"state":                 {tooWarm(), func(r *rule.Rule) { r.State = "off" }, `state: "off" is not a state: one of enabled, muted, draft`},
		"tag without a name":    {tooWarm(), func(r *rule.Rule) { r.Match.Tags = map[string]string{"Kind of": "x"} }, `match.tags: "Kind of" is not a name`},
		"empty tag":             {tooWarm(), func(r *rule.Rule) { r.Match.Tags = map[string]string{"kind": ""} }, "match.tags: kind is empty"},
		"long label":            {tooWarm(), func(r *rule.Rule) { r.Labels = map[string]string{"a": strings.Repeat("x", 201)} }, "labels: a is 201 bytes long"},
		"label with a bell":     {tooWarm(), func(r *rule.Rule) { r.Labels = map[string]string{"a": "\a"} }, "labels: a holds control characters"},
		"many labels":           {tooWarm(), func(r *rule.Rule) { r.Labels = manyLabels() }, "labels: lists 21, at most 20"},
		"remind":                {tooWarm(), func(r *rule.Rule) { r.Remind = time.Second }, "remind: 1s is out of range: 1m"},
		"runbook":               {tooWarm(), func(r *rule.Rule) { r.Runbook = "wiki" }, "runbook: is not a URL"},
		"script as runbook":     {tooWarm(), func(r *rule.Rule) { r.Runbook = "javascript:alert(1)" }, "runbook: is not a URL"},
		"runbook with password": {tooWarm(), func(r *rule.Rule) { r.Runbook = "https://a:b@example.org" }, "runbook: is not a URL"},
		"long runbook":          {tooWarm(), func(r *rule.Rule) { r.Runbook = "https://" + strings.Repeat("x", 500) }, "runbook: is 508 bytes long"},
		"expression":            {wet(), func(r *rule.Rule) { r.Expression = "humidity >" }, "expression: unexpected token EOF at character 10"},
		"no expression":         {wet(), func(r *rule.Rule) { r.Expression = "" }, "expression: is missing"},
		"resolve":               {wet(), func(r *rule.Rule) { r.Resolve = "humidity" }, "resolve: is a number and not a condition"},
		"metric of another":     {wet(), func(r *rule.Rule) { r.Metric = "power" }, `metric: "power" is no metric of the expression, which has humidity, outside`},
		"expression and match":  {wet(), func(r *rule.Rule) { r.Match.Metric = "h*" }, "match.metric: does not go with an expression"},
		"above in expression":   {wet(), func(r *rule.Rule) { r.Above = new(1.0) }, "above: belongs to detector limit, not expression"},
		"expression in a limit": {tooWarm(), func(r *rule.Rule) { r.Expression = "a > 1" }, "expression: belongs to detector expression, not limit"},
		"channel twice":         {doorLeftOpen(), func(r *rule.Rule) { r.Notify = []string{"a", "a"} }, `notify[1]: "a" is listed twice`},
		"too many channels":     {doorLeftOpen(), func(r *rule.Rule) { r.Notify = make([]string, 101) }, "notify: lists 101 channels"},
		"hysteresis in a rate":  {doorLeftOpen(), func(r *rule.Rule) { r.Hysteresis = 1 }, "hysteresis: belongs"},
		"alarms of a limit":     {tooWarm(), func(r *rule.Rule) { r.FalseAlarms = 1 }, "false_alarms: belongs to the detectors that learn, not limit"},
		"direction of a limit":  {tooWarm(), func(r *rule.Rule) { r.Direction = rule.Up }, "direction: belongs to detector surge, not limit"},
		"too many alarms":       {unusual(rule.Auto), func(r *rule.Rule) { r.FalseAlarms = 1001 }, "false_alarms: 1001 is out of range"},
		"negative alarms":       {unusual(rule.Auto), func(r *rule.Rule) { r.FalseAlarms = -1 }, "false_alarms: -1 is out of range"},
		"alarms nan":            {unusual(rule.Auto), func(r *rule.Rule) { r.FalseAlarms = math.NaN() }, "false_alarms: NaN is out of range"},
		"no direction":          {unusual(rule.Surge), func(r *rule.Rule) { r.Direction = "left" }, `direction: "left" is not a direction: one of both, up, down`},
		"direction of another":  {unusual(rule.Drift), func(r *rule.Rule) { r.Direction = rule.Up }, "direction: belongs to detector surge, not drift"},
		"above in another":      {unusual(rule.Stuck), func(r *rule.Rule) { r.Above = new(1.0) }, "above: belongs to detector limit, not stuck"},
		"share of a limit":      {tooWarm(), func(r *rule.Rule) { r.Share = 1 }, "share: belongs to detector unreadable, not limit"},
		"share of all":          {unusual(rule.Unreadable), func(r *rule.Rule) { r.Share = 100 }, "share: 100 is out of range"},
		"share nan":             {unusual(rule.Unreadable), func(r *rule.Rule) { r.Share = math.NaN() }, "share: NaN is out of range"},
		"share in a moment":     {unusual(rule.Unreadable), func(r *rule.Rule) { r.Within = time.Second }, "within: 1s is out of range"},
		"for of a share":        {unusual(rule.Unreadable), func(r *rule.Rule) { r.For = time.Minute }, "for: belongs"},
		"alarms of a share":     {unusual(rule.Unreadable), func(r *rule.Rule) { r.FalseAlarms = 1 }, "false_alarms: belongs"},
		"within of another one": {tooWarm(), func(r *rule.Rule) { r.Within = 1 }, "within: belongs"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.change(&tc.base)
			err := tc.base.Validate()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if _, ok := errors.AsType[*rule.FieldError](err); !ok {
				t.Fatalf("%v is not a FieldError", err)
			}
		})
	}
}
