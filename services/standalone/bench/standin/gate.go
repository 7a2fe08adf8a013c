package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"headwater/services/internal/influx"
	"headwater/services/standalone/influxd"
)

// version is what the gate reports.
const version = "v2.7.12"

// gateConfig is what the environment of the official image sets up.
type gateConfig struct {
	// dir holds the data.
	dir string
	// org is the only organisation, token the only token.
	org, token string
	// bucket is created at startup unless it is empty.
	bucket string
	// log receives warnings and errors.
	log *slog.Logger
}

// gate is a running stand-in. Several goroutines may use its handler at once.
type gate struct {
	cfg    gateConfig
	inner  *influxd.Server
	client *influx.Client
	proxy  *httputil.ReverseProxy

	mu      sync.Mutex
	buckets map[string]bool // by name; guarded by mu
}

// openGate starts InfluxDB 1.8 on a port of its own behind the gate.
func openGate(ctx context.Context, cfg gateConfig) (s *gate, err error) {
	if cfg.org == "" || cfg.token == "" {
		return nil, errors.New("an organisation and a token must be given")
	}
	inner, err := influxd.Start(influxd.Config{Dir: cfg.dir, Log: cfg.log})
	if err != nil {
		return nil, err
	}
	s = &gate{cfg: cfg, inner: inner, buckets: make(map[string]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.client, err = influx.New(influx.Config{URL: inner.URL(), Database: "headwater", Timeout: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	at, err := url.Parse(inner.URL())
	if err != nil {
		return nil, err
	}
	s.proxy = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(at)
		r.Out.Header.Del("Authorization")
	}, ModifyResponse: func(r *http.Response) error {
		r.Header.Set("X-Influxdb-Version", version)
		return nil
	}}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if cfg.bucket != "" && !s.has(cfg.bucket) {
		return s, s.make(ctx, cfg.bucket, 0)
	}
	return s, nil
}

// close stops InfluxDB.
func (s *gate) close() error {
	if s.client != nil {
		s.client.Close()
	}
	return s.inner.Close()
}

// load lists the buckets that exist.
func (s *gate) load(ctx context.Context) error {
	databases, err := s.client.Query(ctx, "", "", "SHOW DATABASES", nil)
	if err != nil {
		return err
	}
	for _, database := range column(databases) {
		policies, err := s.client.Query(ctx, "", "", "SHOW RETENTION POLICIES ON $db", influx.Params{"db": influx.Ident(database)})
		if err != nil {
			return err
		}
		for _, policy := range column(policies) {
			s.buckets[name(database, policy)] = true
		}
	}
	return nil
}

func column(series []influx.Series) (names []string) {
	for _, one := range series {
		for _, row := range one.Values {
			if text, ok := row[0].(string); ok {
				names = append(names, text)
			}
		}
	}
	return names
}

// plain is the retention policy to which version 2 maps a bucket without a slash in
// its name.
const plain = "autogen"

func name(database, policy string) string {
	if policy == plain {
		return database
	}
	return database + "/" + policy
}

func split(bucket string) influx.Bucket {
	database, policy, found := strings.Cut(bucket, "/")
	if !found {
		policy = plain
	}
	return influx.Bucket{Database: database, Policy: policy}
}

// make creates a bucket. It returns errExists if the bucket exists.
func (s *gate) make(ctx context.Context, bucket string, retention time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[bucket] {
		return errExists
	}
	b := split(bucket)
	b.Retention = retention
	if err := s.client.Ensure(ctx, b); err != nil {
		return err
	}
	s.buckets[bucket] = true
	return nil
}

var errExists = errors.New("bucket exists")

func (s *gate) has(bucket string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[bucket]
}

// handler answers as InfluxDB 2 does.
func (s *gate) handler() http.Handler {
	open := http.NewServeMux()
	open.HandleFunc("/ping", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	open.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		write(w, http.StatusOK, map[string]string{"name": "influxdb", "status": "pass", "version": version})
	})
	closed := http.NewServeMux()
	closed.HandleFunc("GET /api/v2/orgs", s.orgs)
	closed.HandleFunc("GET /api/v2/buckets", s.list)
	closed.HandleFunc("POST /api/v2/buckets", s.create)
	closed.HandleFunc("POST /api/v2/write", s.write)
	closed.HandleFunc("/query", s.query)
	open.Handle("/", s.guard(closed))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Influxdb-Version", version)
		w.Header().Set("X-Influxdb-Build", "OSS")
		open.ServeHTTP(w, r)
	})
}

// guard lets requests with the token through.
func (s *gate) guard(next http.Handler) http.Handler {
	want := "Token " + s.cfg.token
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := r.Header.Get("Authorization")
		if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
			refuse(w, http.StatusUnauthorized, "unauthorized", "unauthorized access")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// organisation is the id of the only organisation.
const organisation = "0123456789abcdef"

func (s *gate) orgs(w http.ResponseWriter, r *http.Request) {
	if asked := r.URL.Query().Get("org"); asked != "" && asked != s.cfg.org {
		refuse(w, http.StatusNotFound, "not found", "organization name \""+asked+"\" not found")
		return
	}
	write(w, http.StatusOK, map[string]any{"orgs": []map[string]string{{"id": organisation, "name": s.cfg.org}}})
}

func (s *gate) list(w http.ResponseWriter, r *http.Request) {
	found := []map[string]string{}
	if bucket := r.URL.Query().Get("name"); s.has(bucket) {
		found = append(found, map[string]string{"id": path.Base(bucket), "orgID": organisation, "name": bucket})
	}
	write(w, http.StatusOK, map[string]any{"buckets": found})
}

func (s *gate) create(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		OrgID, Name    string
		RetentionRules []struct{ EverySeconds int64 }
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil || asked.OrgID != organisation || asked.Name == "" {
		refuse(w, http.StatusBadRequest, "invalid", "a bucket takes orgID, name and retentionRules")
		return
	}
	retention := time.Duration(0)
	for _, rule := range asked.RetentionRules {
		retention = time.Duration(rule.EverySeconds) * time.Second
	}
	switch err := s.make(r.Context(), asked.Name, retention); {
	case errors.Is(err, errExists):
		refuse(w, http.StatusUnprocessableEntity, "conflict", fmt.Sprintf("bucket with name %s already exists", asked.Name))
	case err != nil:
		refuse(w, http.StatusInternalServerError, "internal error", err.Error())
	default:
		write(w, http.StatusCreated, map[string]string{"id": path.Base(asked.Name), "orgID": organisation, "name": asked.Name})
	}
}

func (s *gate) write(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	if org := query.Get("org"); org != s.cfg.org && org != organisation {
		refuse(w, http.StatusNotFound, "not found", fmt.Sprintf("organization name %q not found", org))
		return
	}
	if bucket := query.Get("bucket"); !s.has(bucket) {
		refuse(w, http.StatusNotFound, "not found", fmt.Sprintf("bucket %q not found", bucket))
		return
	}
	s.proxy.ServeHTTP(w, r)
}

// query lets InfluxQL through that only reads: version 2 creates nothing by it.
func (s *gate) query(w http.ResponseWriter, r *http.Request) {
	words := strings.Fields(strings.ToUpper(r.URL.Query().Get("q")))
	if len(words) > 0 && words[0] != "SELECT" && words[0] != "SHOW" && words[0] != "DELETE" {
		refuse(w, http.StatusMethodNotAllowed, "method not allowed", "not implemented: "+words[0])
		return
	}
	s.proxy.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	write(w, status, map[string]string{"code": code, "message": message})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	// An error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(body)
}
