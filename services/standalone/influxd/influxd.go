// Package influxd is InfluxDB 1.8.10 as a library, for one machine: the real
// storage engine, query language and HTTP handlers, assembled from InfluxDB's
// own packages. Flux, clustering, the other input protocols, usage reports and
// self-monitoring are left out, so there is no /api/v2/query.
//
// What a 2xx acknowledged survives a power cut: every write is synced to the
// write-ahead log before it is answered. The retention of the policies, which the
// caller creates, bounds the storage.
package influxd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/monitor"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/services/httpd"
	"github.com/influxdata/influxdb/services/meta"
	"github.com/influxdata/influxdb/services/precreator"
	"github.com/influxdata/influxdb/services/retention"
	"github.com/influxdata/influxdb/toml"
	"github.com/influxdata/influxdb/tsdb"
	_ "github.com/influxdata/influxdb/tsdb/engine" // registers tsm1
	"github.com/influxdata/influxdb/tsdb/index/tsi1"
	"go.uber.org/zap"

	"headwater/services/internal/process"
)

// Version is the version of InfluxDB.
const Version = "1.8.10"

// DefaultAddr lets the system choose the port.
const DefaultAddr = "127.0.0.1:0"

// Sizes for a small computer. InfluxDB's defaults are for servers: a gigabyte of cache
// for each shard, and no bound on what one query may take.
const (
	cacheMax     = 256 << 20
	cacheFlush   = 16 << 20
	maxBody      = 32 << 20
	maxHeaders   = 64 << 10
	maxRows      = 1_000_000
	maxBuckets   = 1_000_000
	maxQueries   = 64
	queryTimeout = time.Minute
	writeTimeout = 30 * time.Second
	// closeTimeout bounds how long Close waits for the requests in flight.
	closeTimeout = 10 * time.Second
)

// Config says where the data is and where it is served.
type Config struct {
	// Dir holds all the data. It is created for this user only if it does not exist, and
	// belongs to one server at a time.
	Dir string
	// Addr is a loopback address with a port; empty means DefaultAddr.
	Addr string
	// Token, if set, must come with every request: as in InfluxDB 2 ("Authorization:
	// Token ..."), or as the password of HTTP basic authentication. Without one, every
	// user of this machine may read and write.
	Token string
	// Log receives InfluxDB's warnings and errors; nil discards them.
	Log *slog.Logger
}

// Server is a running InfluxDB. It is safe for concurrent use.
type Server struct {
	addr    net.Addr
	failing failing
	close   []func() error // run last to first
}

// Start opens the data and serves it. After an error nothing is left running.
func Start(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = DefaultAddr
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := new(Server)
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URL returns where InfluxDB answers, such as "http://127.0.0.1:8086".
func (s *Server) URL() string { return "http://" + s.addr.String() }

// Close stops accepting requests, lets those in flight finish, writes what is in memory
// to the disk and unlocks the folder. It may be called once.
func (s *Server) Close() error {
	var errs []error
	for i := len(s.close) - 1; i >= 0; i-- {
		errs = append(errs, s.close[i]())
	}
	s.close = nil
	return errors.Join(errs...)
}

// closes registers f to be called by Close, before everything that was registered
// earlier.
func (s *Server) closes(what string, f func() error) {
	s.close = append(s.close, func() error {
		if err := f(); err != nil {
			return fmt.Errorf("close %s of InfluxDB: %w", what, err)
		}
		return nil
	})
}

func (s *Server) start(cfg Config) error {
	if err := s.openFolder(cfg.Dir); err != nil {
		return err
	}
	listener, err := listen(cfg.Addr)
	if err != nil {
		return err
	}
	s.addr = listener.Addr()
	served := false
	s.closes("listener", func() error {
		if served {
			return nil // the HTTP server has closed it
		}
		return listener.Close()
	})

	log := newLogger(cfg.Log)
	client := meta.NewClient(&meta.Config{Dir: filepath.Join(cfg.Dir, "meta")})
	client.WithLogger(log)
	if err := client.Open(); err != nil {
		return fmt.Errorf("open the list of databases of InfluxDB, %s: %w. If it is damaged, restore the folder %s from a backup, or move it away, which gives up the history; then start again",
			filepath.Join(cfg.Dir, "meta", "meta.db"), err, cfg.Dir)
	}
	s.closes("list of databases", client.Close)

	if err := repair(cfg.Dir, cfg.Log); err != nil {
		return err
	}
	store := newStore(cfg.Dir)
	store.WithLogger(log)
	if err := store.Open(); err != nil {
		return fmt.Errorf("open the data of InfluxDB in %s: %w", cfg.Dir, err)
	}
	s.closes("data", store.Close)

	points, queries := s.engine(client, store, log)
	if err := points.Open(); err != nil {
		return fmt.Errorf("start InfluxDB: %w", err)
	}
	s.closes("points writer", points.Close)
	s.closes("queries", queries.Close)
	if err := s.housekeeping(client, store, log); err != nil {
		return err
	}
	s.serve(listener, newHandler(client, points, queries, log), cfg)
	served = true
	return nil
}

// openFolder creates the folder and locks it.
func (s *Server) openFolder(dir string) error {
	if dir == "" {
		return errors.New("start InfluxDB: no data folder is given")
	}
	if err := os.MkdirAll(filepath.Join(dir, "meta"), 0o700); err != nil {
		return fmt.Errorf("create the data folder of InfluxDB: %w", err)
	}
	unlock, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return fmt.Errorf("data folder of InfluxDB %s: %w", dir, err)
	}
	s.closes("lock", unlock)
	return nil
}

func listen(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("address of InfluxDB: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address of InfluxDB %s: only a loopback address is allowed, such as %s", addr, DefaultAddr)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("start InfluxDB on %s: %w", addr, err)
	}
	return listener, nil
}

func newStore(dir string) *tsdb.Store {
	c := tsdb.NewConfig()
	c.Dir = filepath.Join(dir, "data")
	c.WALDir = filepath.Join(dir, "wal")
	c.Index = tsi1.IndexName
	c.WALFsyncDelay = 0 // each write is synced before it is answered
	c.CacheMaxMemorySize = toml.Size(cacheMax)
	c.CacheSnapshotMemorySize = toml.Size(cacheFlush)
	c.MaxConcurrentCompactions = 1
	c.SeriesFileMaxConcurrentSnapshotCompactions = 1
	// The number of devices is bounded where they log in, not here: a refused point would
	// be lost.
	c.MaxSeriesPerDatabase = 0
	c.MaxValuesPerTag = 0
	c.QueryLogEnabled = false
	store := tsdb.NewStore(c.Dir)
	store.EngineOptions.Config = c
	store.EngineOptions.EngineVersion = c.Engine
	store.EngineOptions.IndexVersion = c.Index
	return store
}

// engine connects the writer and the queries to the data.
func (s *Server) engine(client *meta.Client, store *tsdb.Store, log *zap.Logger) (*coordinator.PointsWriter, *query.Executor) {
	points := coordinator.NewPointsWriter()
	points.WriteTimeout = writeTimeout
	points.MetaClient = client
	turns := new(turns)
	points.TSDBStore = turnStore{store, turns}
	points.WithLogger(log)

	queries := query.NewExecutor()
	queries.TaskManager.QueryTimeout = queryTimeout
	queries.TaskManager.MaxConcurrentQueries = maxQueries
	queries.StatementExecutor = turnExecutor{turns: turns, StatementExecutor: &coordinator.StatementExecutor{
		MetaClient:  client,
		TaskManager: queries.TaskManager,
		TSDBStore:   store,
		ShardMapper: &coordinator.LocalShardMapper{
			MetaClient: client,
			TSDBStore:  coordinator.LocalTSDBStore{Store: store},
		},
		Monitor:           monitor.New(statistics{store, points, queries}, monitor.Config{}),
		PointsWriter:      points,
		MaxSelectBucketsN: maxBuckets,
	}}
	return points, queries
}

// statistics answers SHOW STATS.
type statistics struct {
	store   *tsdb.Store
	points  *coordinator.PointsWriter
	queries *query.Executor
}

// Statistics implements monitor.Reporter.
func (s statistics) Statistics(tags map[string]string) []models.Statistic {
	out := s.queries.Statistics(tags)
	out = append(out, s.store.Statistics(tags)...)
	return append(out, s.points.Statistics(tags)...)
}

// housekeeping starts the services that delete old shards and create coming ones.
func (s *Server) housekeeping(client *meta.Client, store *tsdb.Store, log *zap.Logger) error {
	old := retention.NewService(retention.NewConfig())
	old.MetaClient = client
	old.TSDBStore = store
	old.WithLogger(log)
	if err := old.Open(); err != nil {
		return fmt.Errorf("start retention of InfluxDB: %w", err)
	}
	s.closes("retention", old.Close)

	coming := precreator.NewService(precreator.NewConfig())
	coming.MetaClient = client
	coming.WithLogger(log)
	if err := coming.Open(); err != nil {
		return fmt.Errorf("start creation of shards of InfluxDB: %w", err)
	}
	s.closes("creation of shards", coming.Close)
	return nil
}

func newHandler(client *meta.Client, points *coordinator.PointsWriter, queries *query.Executor, log *zap.Logger) http.Handler {
	c := httpd.NewConfig()
	c.LogEnabled = false
	c.PprofEnabled = false
	c.MaxBodySize = maxBody
	c.MaxRowLimit = maxRows
	h := httpd.NewHandler(c)
	h.MetaClient = client
	h.QueryAuthorizer = meta.NewQueryAuthorizer(client)
	h.WriteAuthorizer = meta.NewWriteAuthorizer(client)
	h.QueryExecutor = queries
	h.PointsWriter = points
	h.Version = Version
	h.BuildType = "OSS"
	h.Logger = log
	// With LogEnabled off, only requests that panicked write to this log.
	if panics, err := zap.NewStdLogAt(log, zap.ErrorLevel); err == nil {
		h.CLFLogger = panics
	}
	return h
}

func (s *Server) serve(listener net.Listener, handler http.Handler, cfg Config) {
	server := &http.Server{
		Handler:           guard(s.failing.watch(handler), cfg.Token),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn),
	}
	stop := process.Stopper(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cfg.Log.Error("InfluxDB no longer accepts requests", "err", err)
		}
	}()
	s.closes("HTTP server", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err := stop(ctx)
		<-done
		return err
	})
}
