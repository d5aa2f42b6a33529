# frozen_string_literal: true

require 'spec_helper'

describe 'aaconverge' do
  # What the class makes of these fields of a document.
  def document(fields)
    { 'prune' => true, 'allow_empty' => false, 'supersedes' => [], 'defaults' => {}, 'accept' => [], 'classes' => {},
      'files' => [], 'profiles' => [] }.merge(fields)
  end

  context 'without parameters' do
    it { is_expected.to compile.with_all_deps }

    it 'installs the package before it is needed' do
      is_expected.to contain_package('aa-converge').that_comes_before('Aaconverge_profiles[puppet]')
    end

    it 'lets nothing be taken away because data got lost' do
      is_expected.to contain_aaconverge_profiles('puppet').with_document(document('prune' => false))
    end
  end

  context 'when everything is to go' do
    let(:params) { { 'allow_empty' => true } }

    it { is_expected.to contain_aaconverge_profiles('puppet').with_document(document('allow_empty' => true)) }
  end

  context 'when prune is asked for without an entry' do
    let(:params) { { 'prune' => true } }

    it { is_expected.to contain_aaconverge_profiles('puppet').with_document(document('prune' => true)) }
  end

  context 'with Sensitive entries' do
    profiles = [{ 'file' => 'x', 'content' => 'a secret' }]
    let(:params) { { 'profiles' => sensitive(profiles) } }

    it 'passes the whole document on as Sensitive' do
      is_expected.to contain_aaconverge_profiles('puppet').with_document(sensitive(document('profiles' => profiles)))
    end
  end

  context 'without the package' do
    let(:params) { { 'manage_package' => false } }

    it { is_expected.not_to contain_package('aa-converge') }
  end

  context 'with data on two levels of Hiera' do
    let(:hiera_config) { File.join(MODULE, 'spec/fixtures/hiera.yaml') }

    it 'puts lists together, the nearest entry of a file first and alone, and takes the nearest of what is no list' do
      wanted = document(
        'accept' => %w[of_this_host fleet_wide].map { |code| { 'code' => code, 'reason' => 'a test of levels' } },
        'files' => [{ 'path' => 'local/usr.sbin.nginx', 'content' => 'of the host' }],
        'profiles' => [
          { 'file' => 'usr.sbin.nginx', 'mode' => 'complain' },
          { 'mode' => 'complain', 'service' => { 'class' => 'worker', 'executable' => '/usr/local/bin/report-exporter' } },
          { 'file' => 'usr.sbin.nscd', 'mode' => 'enforce' },
        ]
      )
      is_expected.to contain_aaconverge_profiles('web-fleet').with_document(wanted)
    end
  end

  {
    'a mode that there is not' => { 'file' => 'x', 'mode' => 'audit' },
    'a field that there is not' => { 'file' => 'x', 'contents' => '' },
    'a source that is not absolute' => { 'file' => 'x', 'source' => 'x' },
  }.each do |what, profile|
    context "with #{what}" do
      let(:params) { { 'profiles' => [profile] } }

      it { is_expected.to compile.and_raise_error(/parameter 'profiles'/) }
    end
  end

  examples = Dir[File.join(MODULE, '../../*.json')]
  raise 'there are no examples' if examples.empty?

  examples.each do |path|
    context "with #{File.basename(path)}" do
      example = JSON.parse(File.read(path))
      let(:params) { example.reject { |field, _| field == 'version' } }

      it 'passes every field on' do
        fields = example.reject { |field, _| %w[version owner].include?(field) }
        is_expected.to contain_aaconverge_profiles(example['owner']).with_document(document(fields))
      end
    end
  end
end

describe 'the data types' do
  schema = JSON.parse(File.read(File.join(MODULE, '../../../schemas/document.v1.json')))
  fields = ->(text) { text.scan(/'(\w+)'\]?\s+=>/).flatten.sort }

  {
    'defaults' => 'Defaults', 'acceptance' => 'Acceptance', 'file' => 'File', 'profile' => %w[Profile Service],
  }.each do |type, definitions|
    it "#{type} has the fields of the document's schema" do
      wanted = [*definitions].flat_map { |name| schema['$defs'][name]['properties'].keys }
      expect(fields.call(File.read(File.join(MODULE, "types/#{type}.pp")))).to eq(wanted.sort)
    end
  end

  it 'mode has the modes of the schema' do
    wanted = schema['$defs']['Mode']['oneOf'].map { |mode| mode['const'] }
    expect(File.read(File.join(MODULE, 'types/mode.pp')).scan(/'(\w+)'/).flatten).to match_array(wanted)
  end
end
