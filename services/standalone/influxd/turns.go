package influxd

import (
	"context"
	"sync"

	"github.com/influxdata/influxdb/coordinator"
	"github.com/influxdata/influxdb/models"
	"github.com/influxdata/influxdb/query"
	"github.com/influxdata/influxdb/tsdb"
	"github.com/influxdata/influxql"
)

// turns keeps queries and the creation of series apart: the index of InfluxDB 1.8.10
// (tsi1) changes a measurement under its lock while queries read it without the lock. A
// series is created once for each device, metric and shard, so queries hardly ever wait
// for that; the creation waits for running queries.
type turns struct {
	index sync.RWMutex

	mu sync.Mutex
	// known are the series that exist for sure, by shard and key; guarded by mu.
	known map[uint64]map[string]struct{}
	count int
}

// maxKnown bounds the series that are remembered. When it is exceeded, all are forgotten
// and learned again.
const maxKnown = 200_000

// learned reports whether the series of all points were written to the shard before.
func (t *turns) learned(shard uint64, points []models.Point) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.known[shard]
	for _, p := range points {
		if _, ok := known[string(p.Key())]; !ok {
			return false
		}
	}
	return true
}

func (t *turns) learn(shard uint64, points []models.Point) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil || t.count > maxKnown {
		t.known, t.count = make(map[uint64]map[string]struct{}), 0
	}
	known := t.known[shard]
	if known == nil {
		known = make(map[string]struct{})
		t.known[shard] = known
	}
	for _, p := range points {
		if _, ok := known[string(p.Key())]; !ok {
			known[string(p.Key())] = struct{}{}
			t.count++
		}
	}
}

// forget treats every series as new, because some may have been deleted.
func (t *turns) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.count = nil, 0
}

// turnStore is a store that creates series only while no query runs.
type turnStore struct {
	*tsdb.Store
	turns *turns
}

// WriteToShard implements coordinator.PointsWriter's store.
func (s turnStore) WriteToShard(shard uint64, points []models.Point) error {
	return s.WriteToShardWithContext(context.Background(), shard, points)
}

// WriteToShardWithContext implements coordinator.PointsWriter's store.
func (s turnStore) WriteToShardWithContext(ctx context.Context, shard uint64, points []models.Point) error {
	if s.turns.learned(shard, points) {
		return s.Store.WriteToShardWithContext(ctx, shard, points)
	}
	s.turns.index.Lock()
	defer s.turns.index.Unlock()
	err := s.Store.WriteToShardWithContext(ctx, shard, points)
	if err == nil {
		s.turns.learn(shard, points)
	}
	return err
}

// turnExecutor executes statements only while no series is created or deleted.
type turnExecutor struct {
	*coordinator.StatementExecutor
	turns *turns
}

// ExecuteStatement implements query.StatementExecutor.
func (e turnExecutor) ExecuteStatement(ctx *query.ExecutionContext, statement influxql.Statement) error {
	switch s := statement.(type) {
	case *influxql.SelectStatement:
		if s.Target != nil {
			// It writes, and would wait for its own read lock.
			return e.StatementExecutor.ExecuteStatement(ctx, statement)
		}
	case *influxql.DropSeriesStatement, *influxql.DeleteSeriesStatement, *influxql.DropMeasurementStatement,
		*influxql.DropDatabaseStatement, *influxql.DropRetentionPolicyStatement, *influxql.DropShardStatement:
		e.turns.index.Lock()
		defer e.turns.index.Unlock()
		defer e.turns.forget()
		return e.StatementExecutor.ExecuteStatement(ctx, statement)
	}
	e.turns.index.RLock()
	defer e.turns.index.RUnlock()
	return e.StatementExecutor.ExecuteStatement(ctx, statement)
}
