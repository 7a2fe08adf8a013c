package app

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"headwater/web/view"
)

const (
	// maxAuthor bounds the name of a person, in bytes.
	maxAuthor = 64
	// authorCookie remembers the name that a person gave, for authorFor.
	authorCookie = "headwater_author"
	authorFor    = 365 * 24 * time.Hour
)

// errAuthor says what a name must look like.
var errAuthor = fmt.Errorf("by must be a name of at most %d bytes, of characters that can be printed", maxAuthor)

// Author returns who sends a form: who has logged in; while no log-in is required,
// the name that the person gave now or earlier, else where the request came from. A
// name that is given now is remembered.
func Author(w http.ResponseWriter, r *http.Request, v url.Values) (view.Author, error) {
	if name := PrincipalOf(r.Context()).Name; name != "" {
		return view.Author{Who: name}, nil
	}
	by := strings.TrimSpace(v.Get("by"))
	if by == "" {
		by = RememberedAuthor(r)
		if by == "" {
			by = origin(r)
		}
		return view.Author{Who: by}, nil
	}
	if !validAuthor(by) {
		return view.Author{}, errAuthor
	}
	http.SetCookie(w, &http.Cookie{
		Name: authorCookie, Value: url.QueryEscape(by), Path: "/rules", MaxAge: int(authorFor.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	return view.Author{Who: by}, nil
}

// AuthorOfAPI returns who sends a request to the API: whose token it has or who has
// logged in; while no log-in is required, the name that the request gives, else where it
// came from.
func AuthorOfAPI(r *http.Request) (view.Author, error) {
	by := r.URL.Query().Get("by")
	switch name := PrincipalOf(r.Context()).Name; {
	case name != "":
		by = name
	case by == "":
		by = origin(r)
	case !validAuthor(by):
		return view.Author{}, errAuthor
	}
	return view.Author{Who: by, API: true}, nil
}

// RememberedAuthor returns the name that a person gave earlier, empty if none.
func RememberedAuthor(r *http.Request) string {
	c, err := r.Cookie(authorCookie)
	if err != nil {
		return ""
	}
	by, err := url.QueryUnescape(c.Value)
	if err != nil || !validAuthor(by) {
		return ""
	}
	return by
}

// origin says where a request came from.
func origin(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unknown user"
	}
	return "unknown user at " + host
}

func validAuthor(by string) bool {
	return len(by) <= maxAuthor && utf8.ValidString(by) && strings.IndexFunc(by, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
