package streams

// Durability is a profile: what an acknowledged reading survives.
type Durability string

const (
	// PowerSafe keeps one copy and forces each write to the disk: every
	// acknowledged reading survives a power cut.
	PowerSafe Durability = "power-safe"
	// Fast keeps one copy and forces writes once a second: every acknowledged reading
	// survives kill -9 of any process. A power cut takes up to one second of them.
	Fast Durability = "fast"
	// Replicated keeps three copies on three servers of a cluster: every acknowledged
	// reading survives the loss of any one of them, and devices and services continue with
	// the others.
	Replicated Durability = "replicated"
)

// Replicas is how many copies of each stream and bucket there are.
func (d Durability) Replicas() int {
	if d == Replicated {
		return 3
	}
	return 1
}

// Numbers of lanes for new streams.
const (
	// DefaultLanes is for one server, where each lane of a step may cost a sync of its
	// disk.
	DefaultLanes = 8
	// ClusterLanes is for a cluster, which has more workers and whose copies share syncs.
	ClusterLanes = 32
)

// lanes is the default number of lanes of new streams.
func (d Durability) lanes() int {
	if d == Replicated {
		return ClusterLanes
	}
	return DefaultLanes
}
