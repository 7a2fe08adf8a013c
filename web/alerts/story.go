package alerts

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"time"

	"headwater/web/app"
	"headwater/web/live"
	"headwater/web/ui"
	"headwater/web/view"
)

// around is how much of the time before and after an episode its chart shows at least.
const around = 15 * time.Minute

func (p *Pages) find(id string) (view.Story, bool) {
	s, ok := p.source.Story(id)
	if about, known := p.source.About(s.Rule); ok && known {
		s.About = &about
	}
	return s, ok
}

// story is the page of one episode.
func (p *Pages) story(w http.ResponseWriter, r *http.Request) {
	s, ok := p.find(r.PathValue("id"))
	if !ok {
		p.shell.Page(w, r, http.StatusNotFound, app.Page{Title: "Not found", Section: "alerts"},
			ui.NotFound("There is no such alert. The latest 1,000 that are resolved are kept.", []ui.Link{{Href: "/alerts", Text: "All alerts"}}))
		return
	}
	p.shell.Page(w, r, http.StatusOK, app.Page{Title: s.Rule + " on " + s.Device, Section: "alerts", Live: "/live/alerts/" + s.Episode}, StoryPage(s, p.shell.Now()))
}

func (p *Pages) liveStory(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if _, ok := p.source.Story(id); !ok {
		http.NotFound(w, r)
		return
	}
	p.shell.Stream(w, r, r.URL.Path, func() live.Content {
		return live.Parts(func() []live.Part {
			s, _ := p.find(id)
			return p.shell.Parts(live.Part{ID: "state", Body: State(s)}, live.Part{ID: "timeline", Body: Timeline(s)})
		})
	})
}

// event is an entry of a timeline.
type event struct {
	at    time.Time
	what  string
	who   string
	text  string
	class string
}

// events are what happened to an episode, the oldest first.
func events(s view.Story) []event {
	all := []event{{at: s.Started, what: "Began", text: s.Sentence, class: "event-" + ui.SeverityClass(s.Severity)}}
	if !s.Flapping.IsZero() {
		all = append(all, event{at: s.Flapping, what: "Flaps", text: "It begins and ends again and again."})
	}
	for _, n := range s.Notices {
		e := event{at: n.Decided, what: "Notification to " + n.Channel, text: n.Title}
		switch n.Outcome {
		case view.NoticeSkipped:
			continue
		case view.NoticeSent:
			e.at, e.what = n.Done, "Sent to "+n.Channel
			if n.Attempts > 1 {
				e.what += ", attempt " + ui.FormatCount(uint64(n.Attempts))
			}
		case view.NoticeFailed:
			e.at, e.what, e.text, e.class = n.Done, "Not sent to "+n.Channel, cmp.Or(n.Error, n.Title), "event-failed"
		default:
			e.what = "Being sent to " + n.Channel
		}
		all = append(all, e)
	}
	if n := s.Acknowledged; n != nil {
		all = append(all, event{at: n.At, what: "Acknowledged", who: n.Author, text: n.Text})
	}
	for _, n := range s.Comments {
		all = append(all, event{at: n.At, what: "Comment", who: n.Author, text: n.Text})
	}
	if !s.Active() {
		e := event{at: s.Ended, what: "Ended: " + s.End.Words(), text: s.EndSentence, class: "event-over"}
		if n := s.Resolved; n != nil {
			e.who, e.text = n.Author, n.Text
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b event) int { return a.at.Compare(b.at) })
	return all
}

// period is what the chart of an episode shows.
func period(s view.Story, now time.Time) (from, to time.Time) {
	to = s.Ended
	if s.Active() {
		to = now
	}
	margin := max(around, to.Sub(s.Started)/4)
	from, to = s.Started.Add(-margin), to.Add(margin)
	if to.After(now) {
		to = now
	}
	return from.UTC().Truncate(time.Second), to.UTC().Truncate(time.Second)
}

func seriesURL(s view.Story, from, to time.Time) string {
	return "/api/v1/series?" + url.Values{
		"site": {s.Site}, "device": {s.Device}, "metric": {s.Metric}, "unit": {s.Unit}, "from": {from.Format(time.RFC3339)}, "to": {to.Format(time.RFC3339)},
	}.Encode()
}
