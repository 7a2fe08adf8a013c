package deadletters

import (
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"headwater/web/app"
	"headwater/web/ui"
)

// tryPath is the page on which people try a payload.
const tryPath = "/deadletters/try"

const (
	// mostTried is the size of the largest payload that may be tried, in bytes: that of a
	// device.
	mostTried = 256 << 10
	// mostTopic is the length of the longest topic.
	mostTopic = 1024
	// mostLinked is the size of the largest payload that a link holds.
	mostLinked = 2048
)

// Tried is what becomes of a message of a device.
type Tried struct {
	// Decoder took the message; empty if none did.
	Decoder string `json:"decoder,omitempty"`
	// Readings are those that come out, in order.
	Readings []TriedReading `json:"readings"`
	// Nothing says why a message that was understood has no reading; empty otherwise.
	Nothing string `json:"nothing,omitempty"`
	// Reason and Problem are those of the dead letter that the message becomes, and Advice
	// says what to change; empty if it becomes none.
	Reason  string `json:"reason,omitempty"`
	Problem string `json:"problem,omitempty"`
	Advice  string `json:"advice,omitempty"`
}

// TriedReading is a reading that comes out of a message.
type TriedReading struct {
	Site   string `json:"site"`
	Device string `json:"device"`
	Metric string `json:"metric"`
	// Value is a number, a bool or a text.
	Value any    `json:"value"`
	Unit  string `json:"unit,omitempty"`
	// Time is the event time of the payload in RFC 3339; empty if that of the arrival
	// counts.
	Time string `json:"time,omitempty"`
	// Shown is the value as people read it.
	Shown string `json:"-"`
}

// TryFacts are what the page shows on which people try a payload.
type TryFacts struct {
	Topic, Payload string
	// Hex says that the payload is given in hexadecimal digits.
	Hex bool
	// Tried is nil before something is tried.
	Tried *Tried
	// Problem says why it could not be tried; empty if it could.
	Problem string
}

// tryForm shows the page and, when it is given a topic, what becomes of the message.
func (p *Pages) tryForm(w http.ResponseWriter, r *http.Request) {
	f := TryFacts{}
	if err := app.Form(w, r, 3*mostTried); err != nil {
		p.shell.BadRequest(w, r, err)
		return
	}
	f.Topic, f.Payload, f.Hex = strings.TrimSpace(r.FormValue("topic")), r.FormValue("payload"), r.FormValue("as") == "hex"
	status := http.StatusOK
	if f.Topic != "" {
		payload, err := f.bytes()
		if err == nil {
			var tried Tried
			tried, err = p.try(r, f.Topic, payload)
			f.Tried = &tried
		}
		if err != nil {
			f.Tried, f.Problem, status = nil, ui.Sentence(err.Error()), http.StatusBadRequest
		}
	}
	p.shell.Page(w, r, status, app.Page{Title: "Try a payload", Section: "deadletters"}, TryPage(f))
}

// bytes returns the payload.
func (f TryFacts) bytes() ([]byte, error) {
	if !f.Hex {
		return []byte(strings.ReplaceAll(f.Payload, "\r\n", "\n")), nil
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(f.Payload), ""))
	if err != nil {
		return nil, errors.New("the payload is not in hexadecimal digits")
	}
	return b, nil
}

func (p *Pages) try(r *http.Request, topic string, payload []byte) (Tried, error) {
	switch {
	case len(topic) > mostTopic || !utf8.ValidString(topic):
		return Tried{}, errors.New("the topic must have at most 1024 bytes of UTF-8")
	case len(payload) > mostTried:
		return Tried{}, errors.New("the payload must have at most 262144 bytes")
	}
	return p.source.Try(r.Context(), topic, payload)
}

// apiTry answers what becomes of the body on the topic of the query.
func (p *Pages) apiTry(w http.ResponseWriter, r *http.Request) {
	topic := r.URL.Query().Get("topic")
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostTried))
	if topic == "" {
		err = errors.New("topic must be given")
	}
	var tried Tried
	if err == nil {
		tried, err = p.try(r, topic, payload)
	}
	if err != nil {
		p.shell.FailParameters(w, err)
		return
	}
	tried.Readings = app.OrEmpty(tried.Readings)
	p.shell.Answer(w, r, tried)
}

// tryURL leads to the page with the message of a letter filled in; empty if it is not one
// of a device, or too large for a link.
func tryURL(l Letter) string {
	if l.Service != "bridge" || l.From == "" || len(l.Payload) != l.Size || l.Size > mostLinked {
		return ""
	}
	v := url.Values{"topic": {l.From}}
	if text := string(l.Payload); utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' }) {
		v.Set("payload", text)
	} else {
		v.Set("payload", hex.EncodeToString(l.Payload))
		v.Set("as", "hex")
	}
	return tryPath + "?" + v.Encode()
}

// repeats is a letter and how many more of the page say the same of the same device.
type repeats struct {
	Letter

	more int
}

// alike returns the letters of a page with those together that differ in their bytes only,
// in the order of the newest of each.
func alike(letters []Letter) []repeats {
	var out []repeats
	for _, l := range letters {
		i := slices.IndexFunc(out, func(o repeats) bool {
			return o.Service == l.Service && o.Reason == l.Reason && o.Detail == l.Detail && o.From == l.From && o.Site == l.Site && o.Device == l.Device
		})
		if i < 0 {
			out = append(out, repeats{Letter: l})
		} else {
			out[i].more++
		}
	}
	return out
}
