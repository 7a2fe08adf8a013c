// Package audit records who changed what: rules, users, devices, silences, dead letters,
// log-ins. Entries go to the stream AUDIT, to which services can only append.
//
// A service creates one Log with New, which registers a metric, and calls Write after each change, whether it
// succeeded or not:
//
//	result, detail := audit.Outcome(err)
//	s.audit.Write(ctx, audit.Entry{
//		Who: user, From: address, Action: audit.UserAdd, Object: "anna",
//		Result: result, Detail: detail, After: "operator",
//	})
//
// Write does not fail: an entry that cannot be stored is logged and counted, and the
// change stands. It waits for the stream, up to 2 s, so it does not belong on the path of
// readings. Entries must not contain secrets; the caller says what changed in words.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headwater/proto/figure"
	"headwater/services/internal/meter"
	"headwater/streams"
)

// Action is what was done: a noun and a verb.
type Action string

// The actions.
const (
	RuleSave   Action = "rule.save"
	RuleDelete Action = "rule.delete"
	RuleState  Action = "rule.state"
	// ConfigFile is a configuration file that came into force: rules, channels, windows.
	ConfigFile Action = "config.file"

	SilenceAdd    Action = "silence.add"
	SilenceChange Action = "silence.change"
	SilenceEnd    Action = "silence.end"

	AlertAcknowledge   Action = "alert.acknowledge"
	AlertUnacknowledge Action = "alert.unacknowledge"
	AlertComment       Action = "alert.comment"
	AlertAssign        Action = "alert.assign"
	AlertResolve       Action = "alert.resolve"

	// OnCallDeclare is about rotas, quiet hours and escalation, OnCallOverride and OnCallReturn
	// about who stands in.
	OnCallDeclare  Action = "oncall.declare"
	OnCallOverride Action = "oncall.override"
	OnCallReturn   Action = "oncall.return"

	ChannelSave   Action = "channel.save"
	ChannelDelete Action = "channel.delete"
	ChannelTest   Action = "channel.test"
	ReportSend    Action = "report.send"
	// PushAdd and PushRemove are about phones and browsers that are notified.
	PushAdd    Action = "push.add"
	PushRemove Action = "push.remove"

	LettersRedrive Action = "letters.redrive"
	LettersPurge   Action = "letters.purge"

	DemoAdd    Action = "demo.add"
	DemoRemove Action = "demo.remove"

	LogIn        Action = "login"
	LogOut       Action = "logout"
	UserAdd      Action = "user.add"
	UserChange   Action = "user.change"
	UserRemove   Action = "user.remove"
	UserPassword Action = "user.password"
	// UserPasskey is a passkey that a user added or removed.
	UserPasskey Action = "user.passkey"
	TokenAdd    Action = "token.add"
	TokenRemove Action = "token.remove"

	DeviceAdd     Action = "device.add"
	DeviceApprove Action = "device.approve"
	DeviceRotate  Action = "device.rotate"
	// DeviceClaim is a new claim code, DeviceClaimed its use.
	DeviceClaim   Action = "device.claim"
	DeviceClaimed Action = "device.claimed"
	DeviceRevoke  Action = "device.revoke"
	// EdgeInvite is a new invitation of an edge, EdgeJoin its use.
	EdgeInvite Action = "edge.invite"
	EdgeJoin   Action = "edge.join"
	EdgePolicy Action = "edge.policy"
	EdgeRevoke Action = "edge.revoke"
	// FunctionState is a version that was made live, run as a shadow or stopped.
	FunctionDeploy Action = "function.deploy"
	FunctionState  Action = "function.state"
	FunctionRemove Action = "function.remove"
	EdgeRepair     Action = "edge.repair"
	// DeviceDescribe is what people say about devices: names, rooms, tags.
	DeviceDescribe Action = "device.describe"
	// BoardSave is a board that was made or changed.
	BoardSave   Action = "board.save"
	BoardDelete Action = "board.delete"
	// PlanSave is a floor plan that was made or changed.
	PlanSave   Action = "plan.save"
	PlanDelete Action = "plan.delete"
	// AnnotationAdd and AnnotationRemove are about what people write about moments and periods.
	AnnotationAdd    Action = "annotation.add"
	AnnotationRemove Action = "annotation.remove"
	// DeviceDelete removes a device with all its data; with DeviceMerge another one continues it.
	DeviceDelete Action = "device.delete"
	DeviceMerge  Action = "device.merge"
	// DeviceUnknown is a decision about devices without a credential.
	DeviceUnknown Action = "device.unknown"
)

// Result is how a change ended.
type Result string

// The results.
const (
	Done Result = "done"
	// Refused is for what a person or a device was not allowed to do, such as a log-in
	// with a wrong password. Many of them in a short time are counted, not stored.
	Refused Result = "refused"
	Failed  Result = "failed"
)

// Outcome returns the result of a change and its detail.
func Outcome(err error) (result Result, detail string) {
	if err != nil {
		return Failed, err.Error()
	}
	return Done, ""
}

// Entry is one change. Write clips its texts and replaces what is not printable; Before
// and After may have several lines.
type Entry struct {
	At time.Time `json:"at"`
	// Who is the user, token or part of Headwater that made the change; From is the
	// address that it came from, or empty for this machine.
	Who  string `json:"who"`
	From string `json:"from,omitempty"`
	// Action was done to Object.
	Action Action `json:"action"`
	Object string `json:"object,omitempty"`
	Result Result `json:"result"`
	// Detail says in words why it was refused or failed, or how much was changed.
	Detail string `json:"detail,omitempty"`
	// Before and After are what was changed, as far as it is short.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Bounds of an entry's texts, in bytes.
const (
	maxName = 200
	maxText = 2000
)

// clean returns the entry as it is stored.
func (e Entry) clean() Entry {
	e.Who, e.From, e.Object = line(e.Who, maxName), line(e.From, maxName), line(e.Object, maxName)
	e.Action, e.Result = Action(line(string(e.Action), maxName)), Result(line(string(e.Result), maxName))
	e.Detail, e.Before, e.After = line(e.Detail, maxText), lines(e.Before), lines(e.After)
	return e
}

// line returns a text as one line of characters that can be printed, so that a text from
// outside cannot pass for another line or entry.
func line(s string, most int) string {
	return figure.Clip(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar))), most)
}

// lines is line for a text of several lines.
func lines(s string) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range all {
		all[i] = line(all[i], maxText)
	}
	return figure.Clip(strings.Join(all, "\n"), maxText)
}

const (
	// within bounds one write.
	within = 2 * time.Second
	// refusedBurst is how many refusals are stored at once, refusedPause the time until
	// one more is. So nobody fills the stream with them, which would push out the rest.
	refusedBurst = 60
	refusedPause = 10 * time.Second
)

// Log appends entries for one service. It is safe for concurrent use. A nil Log does
// nothing.
type Log struct {
	js      jetstream.JetStream
	subject string
	log     *slog.Logger
	lost    *prometheus.CounterVec

	mu sync.Mutex // guards what follows
	// free is the time at which all of refusedBurst may be used again.
	free time.Time
	// omitted are the refusals since the last entry that were not stored.
	omitted int
}

// New returns a log for a service. It does no I/O.
func New(js jetstream.JetStream, service string, log *slog.Logger, metrics prometheus.Registerer) *Log {
	return &Log{
		js: js, subject: streams.AuditSubject(service), log: log,
		lost: meter.New(metrics, "audit").Counters("lost_total", "Entries of the audit that were not stored, by reason.", "reason", lostRefused, lostFailed),
	}
}

// Reasons why an entry was not stored.
const (
	lostRefused = "too-many-refusals"
	lostFailed  = "not-stored"
)

// Write appends an entry. A zero At means now, an empty Result means Done. It does not
// depend on the end of ctx, because the change has been made. An entry that cannot be
// stored within 2 s is logged.
func (l *Log) Write(ctx context.Context, e Entry) {
	if l == nil {
		return
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.At = e.At.UTC()
	if e.Result == "" {
		e.Result = Done
	}
	omitted, stored := l.admit(e.Result, e.At)
	if !stored {
		l.lost.WithLabelValues(lostRefused).Inc()
		return
	}
	if omitted > 0 {
		e.Detail = strings.TrimSpace(fmt.Sprintf("%s (%s before it not recorded)", e.Detail, figure.Plural(omitted, "refusal", "refusals")))
	}
	e = e.clean()
	if err := l.append(ctx, e); err != nil {
		l.lost.WithLabelValues(lostFailed).Inc()
		l.log.Error("a change is not in the audit", "err", err, "who", e.Who, "from", e.From, "action", e.Action, "object", e.Object, "result", e.Result, "detail", e.Detail)
	}
}

// admit reports whether an entry is stored, and how many refusals were not since the last
// one that was.
func (l *Log) admit(result Result, now time.Time) (omitted int, stored bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if result == Refused {
		if l.free.Sub(now) > (refusedBurst-1)*refusedPause {
			l.omitted++
			return 0, false
		}
		if l.free.Before(now) {
			l.free = now
		}
		l.free = l.free.Add(refusedPause)
	}
	omitted, l.omitted = l.omitted, 0
	return omitted, true
}

func (l *Log) append(ctx context.Context, e Entry) error {
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode an entry of the audit: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	if _, err := l.js.Publish(ctx, l.subject, body, jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("append to stream %s: %w", streams.StreamAudit, err)
	}
	return nil
}
