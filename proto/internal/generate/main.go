// Command generate generates Go from the schemas of this module. It needs only
// Go: protocompile compiles the schemas, and protoc-gen-go, the plugin pinned
// in go.mod, writes the code.
//
// Run it in the root of the module:
//
//	go run ./internal/generate
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	files, err := filepath.Glob("*/v*/*.proto")
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no schema found: run it in the root of the proto module")
	}
	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{}),
		SourceInfoMode: protocompile.SourceInfoStandard,
	}
	compiled, err := compiler.Compile(ctx, files...)
	if err != nil {
		return fmt.Errorf("compile schemas: %w", err)
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      new("paths=source_relative"),
	}
	seen := make(map[string]bool)
	for _, file := range compiled {
		request.ProtoFile = appendWithImports(request.ProtoFile, file, seen)
	}
	response, err := plugin(ctx, request)
	if err != nil {
		return err
	}
	for _, file := range response.File {
		if err := os.WriteFile(file.GetName(), []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// appendWithImports adds file after everything that it imports, the order that
// a plugin expects.
func appendWithImports(out []*descriptorpb.FileDescriptorProto, file protoreflect.FileDescriptor, seen map[string]bool) []*descriptorpb.FileDescriptorProto {
	if seen[file.Path()] {
		return out
	}
	seen[file.Path()] = true
	for i := range file.Imports().Len() {
		out = appendWithImports(out, file.Imports().Get(i).FileDescriptor, seen)
	}
	return append(out, protodesc.ToFileDescriptorProto(file))
}

// plugin passes the request to protoc-gen-go and returns its answer.
func plugin(ctx context.Context, request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorResponse, error) {
	in, err := proto.Marshal(request)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "protoc-gen-go")
	cmd.Stdin = bytes.NewReader(in)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(out, response); err != nil {
		return nil, fmt.Errorf("answer of protoc-gen-go: %w", err)
	}
	if response.Error != nil {
		return nil, fmt.Errorf("protoc-gen-go: %s", response.GetError())
	}
	return response, nil
}
