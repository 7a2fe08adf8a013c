package streams

import (
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// functionPrefix begins the sources of functions.
const functionPrefix = "fn."

// FunctionSource is for readings that a function has made. The name must be a valid token.
func FunctionSource(function string) Source { return Source(functionPrefix + function) }

// Function returns the name of the function of a FunctionSource, and whether it is one.
func (s Source) Function() (name string, ok bool) {
	name, ok = strings.CutPrefix(string(s), functionPrefix)
	return name, ok && ValidToken(name)
}

// BucketFunctions has what people deployed, what each function has done and how it does, and
// StoreFunctions the code, under its SHA-256.
const (
	BucketFunctions = "functions"
	StoreFunctions  = "functions"
)

// Keys of BucketFunctions, each followed by the name of a function.
const (
	declaredPrefix = "declared."
	recordPrefix   = "record."
	functionStatus = "status."
	// FunctionsDeclared matches the keys of what people deployed, FunctionRecords and
	// FunctionStates those that the service of functions writes.
	FunctionsDeclared = declaredPrefix + "*"
	FunctionRecords   = recordPrefix + "*"
	FunctionStates    = functionStatus + "*"
)

// FunctionKey is the key in BucketFunctions of what people deployed under a name,
// FunctionRecordKey that of its state and the last outputs, and FunctionStatusKey that of how
// it does. The name must be a valid token.
func FunctionKey(function string) string { return declaredPrefix + function }

// FunctionRecordKey belongs to FunctionKey.
func FunctionRecordKey(function string) string { return recordPrefix + function }

// FunctionStatusKey belongs to FunctionKey.
func FunctionStatusKey(function string) string { return functionStatus + function }

// ParseFunctionKey returns the function of a key of FunctionKey or FunctionStatusKey, and
// whether the key is that of what people deployed.
func ParseFunctionKey(key string) (function string, declared bool) {
	if function, declared = strings.CutPrefix(key, declaredPrefix); declared {
		return function, true
	}
	return strings.TrimPrefix(key, functionStatus), false
}

// FunctionOfKey returns the function of any key of BucketFunctions, and whether it is one.
func FunctionOfKey(key string) (function string, ok bool) {
	_, function, ok = strings.Cut(key, ".")
	return function, ok && ValidToken(function)
}

// MaxFunctions is the largest number of functions, MaxFunctionCode the largest code of one in
// bytes, and MaxFunctionValue the largest value of BucketFunctions.
const (
	MaxFunctions     = 100
	MaxFunctionCode  = 8 << 20
	MaxFunctionValue = 4 << 20
	functionsBytes   = 64 << 20
	codeBytes        = 128 << 20
)

// functionConsumer begins the names of the durable consumers of functions. No token has a
// dot, so no other consumer has such a name.
const functionConsumer = "fn-"

// FunctionConsumer is the durable consumer of a function, in the stream that triggers it.
func FunctionConsumer(function string) string { return functionConsumer + function }

// ShadowConsumer is that of the version of a function that runs beside the live one.
func ShadowConsumer(function string) string { return functionConsumer + function + "~" }

// ParseFunctionConsumer returns the function of a consumer, and whether it is the consumer
// of one.
func ParseFunctionConsumer(consumer string) (function string, shadow, ok bool) {
	function, ok = strings.CutPrefix(consumer, functionConsumer)
	function, shadow = strings.CutSuffix(function, "~")
	return function, shadow, ok && ValidToken(function)
}

// functionInputs are the sources whose readings trigger functions: all but functions, so that
// none triggers itself or runs in a circle with others.
func functionInputs() []string {
	var filters []string
	for _, s := range []Source{SourceMQTT, SourceMQTT2, SourceMQTT0, SourceHTTP, SourceRedrive, edgePrefix + "*"} {
		filters = append(filters, telemetryPrefix+"*."+string(s))
	}
	return filters
}

// functionAckWait is how long a function may have messages without asking for more, and
// FunctionAckPending how many.
const (
	functionAckWait    = 5 * time.Minute
	FunctionAckPending = 256
)

// FunctionStreams are the streams whose messages trigger functions.
func FunctionStreams() []string { return []string{StreamTelemetry, StreamDerived, StreamAlerting} }

// FunctionConfig is the durable consumer of a function in one of FunctionStreams, by the name
// of FunctionConsumer or ShadowConsumer. It starts with what is stored after its creation.
func FunctionConfig(stream, durable string) jetstream.ConsumerConfig {
	filters := map[string][]string{StreamTelemetry: functionInputs(), StreamDerived: {DerivedAll}, StreamAlerting: {AlertingAll}}[stream]
	return jetstream.ConsumerConfig{
		Durable: durable, Description: "What triggers one function, in order.",
		FilterSubjects: filters, AckPolicy: jetstream.AckAllPolicy, DeliverPolicy: jetstream.DeliverNewPolicy,
		AckWait: functionAckWait, MaxDeliver: -1, MaxAckPending: FunctionAckPending,
	}
}

// workPrefix begins the subjects of the requests to workers.
const workPrefix = "work."

// WorkSubject is where the workers of a function take their requests. No stream keeps them:
// a request without an answer is repeated. The name must be a valid token.
func WorkSubject(function string) string { return workPrefix + function }

// workerPermissions is what workers may do: take requests and answer them.
func workerPermissions() Permissions {
	return Permissions{Answers: true, Subscribe: []string{WorkSubject("*")}}
}

// callPrefix begins the subjects of the requests that trigger functions.
const callPrefix = "call."

// CallSubject is where a function takes the HTTP requests that trigger it. No stream keeps
// them: a request without an answer may be repeated. The name must be a valid token.
func CallSubject(function string) string { return callPrefix + function }

func functionPermissions() Permissions {
	store := objectStream(StoreFunctions)
	var triggers []string
	for _, stream := range FunctionStreams() {
		triggers = append(triggers, api("CONSUMER.RESET."+stream+".>"))
		triggers = append(triggers, read(stream)...)
	}
	return Permissions{Answers: true, Subscribe: []string{CallSubject("*")}, Publish: join(
		[]string{telemetryPrefix + "*." + functionPrefix + "*", WorkSubject("*")},
		triggers, bury(ServiceFunctions), readBucket(BucketConfig), lease(ServiceFunctions), read(store),
		readBucket(BucketFunctions), writeBucket(BucketFunctions, FunctionRecords), writeBucket(BucketFunctions, FunctionStates),
	)}
}

func functionsConfig(o Options) jetstream.ObjectStoreConfig {
	return jetstream.ObjectStoreConfig{
		Bucket: StoreFunctions, Description: "The code of functions.", MaxBytes: codeBytes,
		Storage: jetstream.FileStorage, Replicas: o.Durability.Replicas(),
	}
}

// storeFunctions is what the dashboard needs to store and remove code.
func storeFunctions() []string {
	store := objectStream(StoreFunctions)
	return join(read(store), []string{"$O." + StoreFunctions + ".>", api("STREAM.PURGE." + store)})
}
