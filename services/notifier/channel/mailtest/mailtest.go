// Package mailtest runs a mail server for tests.
package mailtest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Server is a mail server that keeps what it takes.
type Server struct {
	// Addr is its host and port.
	Addr string
	// Judge returns the answer to a recipient, or to the content of a mail if to is empty; nil
	// takes everything. Password is what a log-in needs; none is asked for if it is empty. Both
	// are set before the first mail.
	Judge    func(to string) error
	Password string

	mu  sync.Mutex
	got []Mail // guarded by mu
}

// Mail is one that the server has taken.
type Mail struct {
	From string
	To   []string
	Body string
}

// Run runs a server until the test ends.
func Run(tb testing.TB) *Server {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Addr: listener.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	server.Domain, server.AllowInsecureAuth = "mail.example.org", true
	server.ReadTimeout, server.WriteTimeout = time.Minute, time.Minute
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	tb.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return s
}

// Mails returns what the server has taken.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Mail(nil), s.got...)
}

func (s *Server) judge(to string) error {
	if s.Judge == nil {
		return nil
	}
	return s.Judge(to)
}

// Refuse is an answer with a status.
func Refuse(status int, text string) error { return &smtp.SMTPError{Code: status, Message: text} }

type session struct {
	server *Server
	mail   Mail
	known  bool
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, password string) error {
		if password != s.server.Password {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.server.Password != "" && !s.known {
		return smtp.ErrAuthRequired
	}
	s.mail = Mail{From: from}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.server.judge(to); err != nil {
		return err
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.server.judge(""); err != nil {
		return err
	}
	s.mail.Body = string(body)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.got = append(s.server.got, s.mail)
	return nil
}

func (s *session) Reset() { s.mail = Mail{} }

func (s *session) Logout() error { return nil }
