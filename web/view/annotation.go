package view

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxAnnotationText bounds the text of an annotation, in bytes.
const MaxAnnotationText = 500

// Annotation is what somebody wrote about a moment or a period of a device, or of a site.
type Annotation struct {
	ID   string `json:"id"`
	Site string `json:"site"`
	// Device is empty if it is about all devices of the site.
	Device string `json:"device,omitempty"`
	// From is the moment, or the start of a period that ends at To.
	From time.Time `json:"from"`
	To   time.Time `json:"to,omitzero"`
	Text string    `json:"text"`
	// Author is who wrote it, and Created when.
	Author  string    `json:"author"`
	Created time.Time `json:"created"`
}

// Placed returns the annotation with its id.
func (a Annotation) Placed(id string, _ uint64) Annotation {
	a.ID = id
	return a
}

// End is the end of the period, or the moment.
func (a Annotation) End() time.Time {
	if a.To.IsZero() {
		return a.From
	}
	return a.To
}

// Where names the device or the site.
func (a Annotation) Where() string {
	if a.Device == "" {
		return a.Site
	}
	return a.Site + "/" + a.Device
}

// Of reports whether the annotation is about a device, or about all of its site.
func (a Annotation) Of(site, device string) bool {
	return a.Site == site && (a.Device == "" || a.Device == device)
}

// Touches reports whether the annotation is about a time in [from, to).
func (a Annotation) Touches(from, to time.Time) bool {
	return a.From.Before(to) && !a.End().Before(from)
}

// Validate returns why the annotation cannot be as it is. Whether there are such a site and
// device is for others to know.
func (a Annotation) Validate() error {
	var problems []error
	if strings.TrimSpace(a.Text) == "" || len(a.Text) > MaxAnnotationText || !utf8.ValidString(a.Text) {
		problems = append(problems, fmt.Errorf("text must have 1 to %d bytes", MaxAnnotationText))
	}
	if a.From.Year() < 1971 || a.End().Year() > 2200 {
		problems = append(problems, errors.New("from and to must lie between 1971 and 2200"))
	}
	if !a.To.IsZero() && !a.From.Before(a.To) {
		problems = append(problems, errors.New("from must be before to"))
	}
	return errors.Join(problems...)
}
