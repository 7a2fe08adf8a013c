package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"headwater/web/view"
)

// maxForm bounds the body of a request that changes something, in bytes.
const maxForm = 4096

// selection reads which dead letters are meant: one, or those of a service and
// a reason up to a sequence. Without a sequence, through must be given, so that
// nobody removes what nobody has seen.
func selection(v url.Values) (view.DeadLetterSelection, error) {
	s := view.DeadLetterSelection{Service: v.Get("service"), Reason: v.Get("reason")}
	var problems []error
	for _, p := range []struct{ name, token string }{{"service", s.Service}, {"reason", s.Reason}} {
		if p.token != "" && !validToken(p.token) {
			problems = append(problems, errors.New(p.name+" must be 1 to 64 letters, digits, hyphens or underscores"))
		}
	}
	for _, p := range []struct {
		name string
		to   *uint64
	}{{"sequence", &s.Sequence}, {"through", &s.Through}, {"from", &s.From}} {
		text := v.Get(p.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			problems = append(problems, errors.New(p.name+" must be a sequence number"))
		}
		*p.to = n
	}
	if s.Sequence == 0 && s.Through == 0 && len(problems) == 0 {
		problems = append(problems, errors.New("through must be the highest sequence that is meant; last of a listing is the highest of all"))
	}
	return s, errors.Join(problems...)
}

// apiSelection reads the selection of a request to the API: from the path, or
// from the query. A body is not read.
func apiSelection(r *http.Request) (view.DeadLetterSelection, error) {
	v := r.URL.Query()
	v.Del("sequence")
	if text := r.PathValue("sequence"); text != "" {
		v = url.Values{"sequence": {text}}
	}
	return selection(v)
}

func (s *Server) apiDeadLetter(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err != nil {
		s.bad(w, err)
		return
	}
	letter, err := s.sources.DeadLetters.DeadLetter(r.Context(), selected.Sequence)
	if err != nil {
		s.failLetters(w, "The dead letter cannot be read", err)
		return
	}
	letter.NotRedrivable = view.NotRedrivable(letter)
	s.answer(w, r, letter)
}

func (s *Server) apiRedrive(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err != nil {
		s.bad(w, err)
		return
	}
	result, err := s.sources.DeadLetters.Redrive(r.Context(), selected)
	if err != nil {
		s.failLetters(w, "The dead letters cannot be redriven", err)
		return
	}
	result.Letters = orEmpty(result.Letters)
	s.answer(w, r, result)
}

func (s *Server) apiPurge(w http.ResponseWriter, r *http.Request) {
	selected, err := apiSelection(r)
	if err == nil && selected.From != 0 {
		err = errors.New("from is not a parameter of a purge")
	}
	if err != nil {
		s.bad(w, err)
		return
	}
	n, err := s.sources.DeadLetters.Purge(r.Context(), selected)
	if err != nil {
		s.failLetters(w, "The dead letters cannot be purged", err)
		return
	}
	s.answer(w, r, struct {
		Purged uint64 `json:"purged"`
	}{n})
}

func (s *Server) failLetters(w http.ResponseWriter, what string, err error) {
	switch status := s.lettersStatus(err); status {
	case http.StatusNotFound:
		s.fail(w, status, "There is no such dead letter.")
	default:
		s.fail(w, status, what+": "+err.Error()+".")
	}
}

// lettersStatus is the status of an answer that an error of the source means.
func (s *Server) lettersStatus(err error) int {
	switch {
	case errors.Is(err, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, ErrUnavailable):
		return http.StatusServiceUnavailable
	}
	s.log.Warn("something went wrong with the dead letters", "err", err)
	return http.StatusBadGateway
}

// lettersPage is the page around what is decided about dead letters.
func lettersPage(title string) view.Page {
	return view.Page{Title: title, Section: "deadletters", Live: "/live/deadletters"}
}

// confirmPage asks whether the letters are really meant. What is confirmed is
// what this page has counted, and nothing that comes later.
func (s *Server) confirmPage(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	f := view.ConfirmFacts{Purge: v.Get("do") == "purge"}
	if do := v.Get("do"); do != "purge" && do != "redrive" {
		s.badRequest(w, r, errors.New("do must be redrive or purge"))
		return
	}
	if v.Get("sequence") == "" {
		v.Set("through", "1") // it is counted below
	}
	var err error
	if f.Selection, err = selection(v); err != nil {
		s.badRequest(w, r, err)
		return
	}
	if f.Selection.Sequence != 0 {
		letter, err := s.sources.DeadLetters.DeadLetter(r.Context(), f.Selection.Sequence)
		if err != nil {
			s.failLettersPage(w, r, "The dead letter cannot be read", err)
			return
		}
		letters := bounded(view.DeadLetters{Items: []view.DeadLetter{letter}})
		f.Letter = &letters.Items[0]
	} else {
		letters, err := s.sources.DeadLetters.DeadLetters(r.Context(), view.DeadLetterQuery{Service: f.Selection.Service, Reason: f.Selection.Reason, Size: 1})
		if err != nil {
			s.failLettersPage(w, r, "The dead letters cannot be read", err)
			return
		}
		f.Counts, f.Selection.Through = letters.Counts, letters.Last
	}
	s.render(w, r, http.StatusOK, lettersPage(f.Title()), view.ConfirmPage(f))
}

func (s *Server) failLettersPage(w http.ResponseWriter, r *http.Request, what string, err error) {
	status := s.lettersStatus(err)
	page := lettersPage("Dead letters")
	if status == http.StatusNotFound {
		s.render(w, r, status, page, view.NotFound("There is no such dead letter any more.", []view.Link{{Href: "/deadletters", Text: "Dead letters"}}))
		return
	}
	s.render(w, r, status, page, view.Failure(what+": "+err.Error()+"."))
}

// form reads the selection of a form, whose size is bounded.
func (s *Server) form(w http.ResponseWriter, r *http.Request) (view.DeadLetterSelection, bool) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	err := r.ParseForm()
	var selected view.DeadLetterSelection
	if err != nil {
		err = fmt.Errorf("the form cannot be read: %w", err)
	} else {
		selected, err = selection(r.PostForm)
	}
	if err != nil {
		s.badRequest(w, r, err)
		return selected, false
	}
	return selected, true
}

func (s *Server) redrivePage(w http.ResponseWriter, r *http.Request) {
	selected, ok := s.form(w, r)
	if !ok {
		return
	}
	result, err := s.sources.DeadLetters.Redrive(r.Context(), selected)
	if err != nil {
		s.failLettersPage(w, r, "The dead letters cannot be redriven", err)
		return
	}
	s.render(w, r, http.StatusOK, lettersPage("Redriven"), view.RedrivePage(view.RedriveFacts{Selection: selected, Result: result}))
}

func (s *Server) purgePage(w http.ResponseWriter, r *http.Request) {
	selected, ok := s.form(w, r)
	if !ok {
		return
	}
	n, err := s.sources.DeadLetters.Purge(r.Context(), selected)
	if err != nil {
		s.failLettersPage(w, r, "The dead letters cannot be purged", err)
		return
	}
	s.render(w, r, http.StatusOK, lettersPage("Purged"), view.PurgePage(n))
}
