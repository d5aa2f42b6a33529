# frozen_string_literal: true

require 'spec_helper'
require 'tmpdir'

# What a real aa-converge does with real policy is tested by puppet apply; here is what needs no policy.
describe Puppet::Type.type(:aaconverge_profiles) do
  def resource(**parameters)
    described_class.new({ title: 'web-fleet', document: { 'prune' => true } }.merge(parameters))
  end

  # A program that keeps what it was given and answers with a report.
  def answering(report)
    Dir.mktmpdir do |directory|
      program = File.join(directory, 'program')
      File.write(program, <<~SH)
        #!/bin/sh
        cat >'#{directory}/document'
        printf '%s\\n' "$@" >'#{directory}/arguments'
        cat '#{directory}/report'
      SH
      File.chmod(0o755, program)
      File.write("#{directory}/report", JSON.generate(report))
      yield program, directory
    end
  end

  let(:in_sync) do
    { 'changed' => false, 'failed' => false, 'msg' => 'all in sync', 'profiles' => [], 'files' => [], 'diff' => [],
      'warnings' => [], 'needs_restart' => [], 'problems' => [], 'error' => nil, 'rollback' => { 'left' => [] } }
  end

  it 'completes the document with version and owner' do
    expect(resource[:document]).to eq('version' => 1, 'owner' => 'web-fleet', 'prune' => true)
  end

  it 'refuses a document of another owner' do
    expect { resource(document: { 'owner' => 'other' }) }.to raise_error(Puppet::Error, /owner is other/)
  end

  it 'refuses what is no document' do
    expect { resource(document: 'profiles') }.to raise_error(Puppet::Error, /must be a hash/)
    expect { described_class.new(title: 'web-fleet') }.to raise_error(Puppet::Error, /a document is required/)
  end

  { nil => '', '/srv/image' => '/srv/image', '/' => '' }.each do |root, prefix|
    it "requires the packages, and the sources below the root #{root}" do
      source = '/srv/policy/usr.sbin.nginx'
      document = { 'profiles' => [{ 'file' => 'usr.sbin.nginx', 'source' => source }] }
      policy = resource(**{ root: root, document: document }.compact)
      catalog = Puppet::Resource::Catalog.new
      others = [
        Puppet::Type.type(:package).new(title: 'aa-converge'),
        Puppet::Type.type(:package).new(title: 'apparmor'),
        Puppet::Type.type(:file).new(title: prefix + source),
      ]
      catalog.add_resource(policy, *others)
      expect(policy.autorequire.map(&:source)).to match_array(others)
    end
  end

  it 'tells with noop that there is something to do while the catalog has yet to bring a source' do
    missing = in_sync.merge('failed' => true, 'msg' => 'cannot open the source')
    answering(missing) do |program, directory|
      source = "#{directory}/usr.sbin.nginx"
      document = { 'profiles' => [{ 'file' => 'usr.sbin.nginx', 'source' => source }] }
      policy = resource(command: program, noop: true, document: document)
      catalog = Puppet::Resource::Catalog.new
      catalog.add_resource(policy)
      expect { policy.provider.differences }.to raise_error(Puppet::Error, /cannot open the source/)
      catalog.add_resource(Puppet::Type.type(:file).new(title: 'policy of nginx', path: source))
      expect(policy.provider.differences).to eq("#{source} is not there yet")
    end
  end

  it 'gives the document on standard input, byte for byte' do
    text = "# Straße 😀 \"quoted\" \\ \\n\n"
    answering(in_sync) do |program, directory|
      policy = resource(command: program, document: { 'files' => [{ 'path' => 'local/x', 'content' => text }] })
      expect(policy.property(:document).retrieve).to eq('in sync')
      given = JSON.parse(File.read("#{directory}/document", encoding: 'UTF-8'))
      expect(given).to eq(policy[:document])
    end
  end

  it 'only looks until it has to act, and with the same options' do
    answering(in_sync) do |program, directory|
      policy = resource(command: program, root: '/srv/image', kernel: 'skip', lock_timeout: 5)
      options = %w[--root /srv/image --kernel skip --lock-timeout 5]
      policy.provider.differences
      expect(File.readlines("#{directory}/arguments", chomp: true)).to eq(%w[apply --format json --diff --check] + options)
      policy.provider.document = policy[:document]
      expect(File.readlines("#{directory}/arguments", chomp: true)).to eq(%w[apply --format json --diff] + options)
    end
  end

  it 'says on every run what needs a restart' do
    process = { 'pid' => 811, 'unit' => 'nginx.service', 'executable' => '/usr/sbin/nginx', 'profile' => 'nginx' }
    answering(in_sync.merge('needs_restart' => [process])) do |program, _|
      provider = resource(command: program).provider
      expect(provider).to receive(:warning).with(/restart nginx.service \(process 811\)/)
      provider.differences
    end
  end

  it 'fails with everything that is wrong' do
    error = { 'message' => 'syntax error', 'file' => '/etc/apparmor.d/x', 'line' => 3 }
    report = in_sync.merge(
      'failed' => true, 'msg' => 'refused', 'error' => { 'remedy' => 'correct it' },
      'problems' => [{ 'pointer' => '/owner', 'message' => 'is missing' }],
      'profiles' => [{ 'file' => 'x', 'error' => error }, { 'file' => 'y', 'error' => error.merge('file' => nil, 'line' => nil) }],
      'rollback' => { 'left' => ['/etc/apparmor.d/z'] }
    )
    answering(report) do |program, _|
      lines = ['refused', '/owner: is missing', '/etc/apparmor.d/x:3: syntax error', 'syntax error',
               'not undone: /etc/apparmor.d/z', 'correct it']
      expect { resource(command: program).provider.differences }.to raise_error(Puppet::Error, lines.join("\n"))
    end
  end

  it 'shows differences where Puppet is to, each with its file' do
    Puppet[:show_diff] = true
    diff = { 'before_header' => 'local/x', 'after_header' => 'local/x', 'before' => "one\n", 'after' => "two\n", 'prepared' => nil }
    answering(in_sync.merge('diff' => [diff])) do |program, _|
      policy = resource(command: program)
      expect(policy.provider).to receive(:notice).with(%r{\Alocal/x\n.*^-one\n\+two\n}m)
      policy.provider.document = policy[:document]
    end
  end

  it 'shows nothing of a document that is Sensitive' do
    Puppet[:show_diff] = true
    diff = { 'before_header' => nil, 'after_header' => 'local/x', 'before' => nil, 'after' => "a secret\n", 'prepared' => nil }
    answering(in_sync.merge('diff' => [diff])) do |program, _|
      declared = Puppet::Resource.new(:aaconverge_profiles, 'web-fleet', parameters: { command: program, document: {} })
      declared.sensitive_parameters = [:document]
      policy = declared.to_ral
      expect(policy.provider).not_to receive(:notice)
      policy.provider.document = policy[:document]
    end
  end

  it 'shows text beyond ASCII whatever the locale is' do
    Puppet[:show_diff] = true
    diff = { 'before_header' => nil, 'after_header' => 'local/x', 'before' => nil, 'after' => "# Straße\n", 'prepared' => nil }
    locale = Encoding.default_external
    answering(in_sync.merge('diff' => [diff])) do |program, _|
      policy = resource(command: program)
      expect(policy.provider).to receive(:notice).with(satisfy { |text| text.valid_encoding? && text.include?('+# Straße') })
      Puppet::Util.withenv('LC_ALL' => 'C') do
        Encoding.default_external = Encoding::US_ASCII
        policy.provider.document = policy[:document]
      end
    end
  ensure
    Encoding.default_external = locale
  end

  it 'fails when there is no answer' do
    expect { resource(command: '/bin/false').provider.differences }.to raise_error(Puppet::Error, /no JSON object but.*exit 1/)
  end

  context 'when the program is not installed' do
    it 'fails' do
      expect { resource(command: 'no-such-program').provider.differences }.to raise_error(Puppet::Error, /install it before/)
    end

    it 'tells with noop that there is something to do' do
      policy = resource(command: 'no-such-program', noop: true)
      expect(policy.property(:document).insync?(policy.provider.differences)).to be(false)
    end
  end
end
