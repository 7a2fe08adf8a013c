module headwater/proto

go 1.26.0

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/google/go-cmp v0.7.0
	google.golang.org/protobuf v1.36.12
)

require golang.org/x/sync v0.25.0 // indirect

tool google.golang.org/protobuf/cmd/protoc-gen-go
