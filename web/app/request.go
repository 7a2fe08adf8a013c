package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"headwater/proto/figure"
	"headwater/streams"
	"headwater/web/view"
)

// Bounds of what a request may ask for.
const (
	// MaxForm bounds the body of a request that changes something, in bytes.
	MaxForm = 4096
	// MaxPage is the highest number of a page of a list.
	MaxPage = 100_000
	// maxText bounds the text of a filter, and the part of a request that is shown
	// again, in bytes.
	maxText = 80
	// maxSpan bounds a range of time; nothing is kept for longer.
	maxSpan     = 20 * 366 * 24 * time.Hour
	defaultSpan = time.Hour
)

// Number reads a whole number from 1 to most, or the default if it is absent.
func Number(r *http.Request, name string, standard, most int) (int, error) {
	text := r.FormValue(name)
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s must be a whole number from 1 to %d", name, most)
	}
	return n, nil
}

// Text reads the text that a list is filtered by.
func Text(r *http.Request) (string, error) {
	text := strings.TrimSpace(r.FormValue("q"))
	if len(text) > maxText || !utf8.ValidString(text) {
		return "", errors.New("q must be text of at most 80 bytes")
	}
	return text, nil
}

// ValidToken reports whether s may name a site, a device or a metric.
func ValidToken(s string) bool { return streams.ValidToken(s) }

// TokenError says what a parameter must look like that names a site, a device or
// a metric.
func TokenError(name string) error {
	return errors.New(name + " must be 1 to 64 letters, digits, hyphens or underscores")
}

// Moment reads a time: in RFC 3339, or as a negative duration before the base. An
// empty text means the standard.
func Moment(text string, base, standard time.Time) (time.Time, error) {
	switch {
	case text == "":
		return standard, nil
	case strings.HasPrefix(text, "-"):
		if d, err := figure.ParseDuration(text); err == nil && d >= -maxSpan && d <= 0 {
			return base.Add(d), nil
		}
	default:
		if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("must be a time of RFC 3339 or a negative duration such as -1h or -2d")
}

// Span reads the parameters from and to; by default they mean the last hour.
func Span(r *http.Request, now time.Time) (from, to time.Time, err error) {
	var problems []error
	to, err = Moment(r.FormValue("to"), now, now)
	if err != nil {
		problems = append(problems, fmt.Errorf("to %w", err))
	}
	from, err = Moment(r.FormValue("from"), to, to.Add(-defaultSpan))
	if err != nil {
		problems = append(problems, fmt.Errorf("from %w", err))
	}
	if len(problems) == 0 {
		switch {
		case !from.Before(to):
			problems = append(problems, errors.New("from must be before to"))
		case to.Sub(from) > maxSpan:
			problems = append(problems, errors.New("the range is longer than 20 years"))
		case from.Year() < 1971 || to.Year() > 2200:
			problems = append(problems, errors.New("from and to must lie between 1971 and 2200"))
		}
	}
	return from, to, errors.Join(problems...)
}

// Form reads the form of a request, of at most that many bytes.
func Form(w http.ResponseWriter, r *http.Request, most int64) error {
	r.Body = http.MaxBytesReader(w, r.Body, most)
	if err := r.ParseForm(); err != nil {
		return fmt.Errorf("the form cannot be read: %w", err)
	}
	return nil
}

// JSON reads the JSON of a request, of at most that many bytes, into a value whose fields are
// all that it may have.
func JSON(w http.ResponseWriter, r *http.Request, most int64, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("the body is not the JSON that is expected: %w", err)
	}
	return nil
}

// ruleForm is the form of the name of a rule.
var ruleForm = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

// ValidRule reports whether s may name a rule.
func ValidRule(s string) bool { return ruleForm.MatchString(s) }

// RuleName reads the name of the rule of a path. It returns view.ErrNotFound if no
// rule can have that name.
func RuleName(r *http.Request) (string, error) {
	name := r.PathValue("name")
	if !ValidRule(name) {
		return "", view.ErrNotFound
	}
	return name, nil
}

// Revision reads the revision of the rule that a change is based on.
func Revision(v url.Values) (uint64, error) {
	n, err := strconv.ParseUint(v.Get("revision"), 10, 64)
	if err != nil {
		return 0, errors.New("revision must be that of the rule as it was seen, 0 for a new rule")
	}
	return n, nil
}

// backForm is the form of the pages that a button may lead back to.
var backForm = regexp.MustCompile(`^(/rules(/[a-z0-9_-]{1,64})?|/alerts(/[0-9a-z-]{1,64})?|/devices/[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64})$`)

// Back returns the page that a button leads back to, or the standard if the form
// does not name one of the dashboard's own.
func Back(form url.Values, standard string) string {
	if back := form.Get("back"); backForm.MatchString(back) {
		return back
	}
	return standard
}

// Clip shortens what a person typed before it is shown again.
func Clip(s string) string {
	return figure.Clip(strings.ToValidUTF8(s, "\ufffd"), maxText)
}

// hostForm is what a host may look like to be shown to people.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9.-]+(:[0-9]{1,5})?$|^\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?$`)

// BaseURL returns where the browser reached this server, without a path.
func BaseURL(r *http.Request) string {
	host := r.Host
	if !hostForm.MatchString(host) {
		host = "localhost:8080"
	}
	if OverHTTPS(r) {
		return "https://" + host
	}
	return "http://" + host
}

// OverHTTPS reports whether the browser reached this server, or a proxy in front of it,
// over HTTPS. A client that claims that wrongly only fails to log in.
func OverHTTPS(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// localForm is the form of an address of this dashboard. A browser would take // and /\
// for the start of another host.
var localForm = regexp.MustCompile(`^/($|[^/\\\x00-\x20][^\x00-\x20]*$)`)

// Local returns an address of this dashboard that a request names, or "/" if it is none.
func Local(address string) string {
	if len(address) > 2048 || !localForm.MatchString(address) || strings.Contains(address, "\\") {
		return "/"
	}
	return address
}
