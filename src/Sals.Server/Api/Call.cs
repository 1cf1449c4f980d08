using Sals.Engine;
using Sals.Engine.Text.Answers;

namespace Sals.Server.Api;

/// <summary>A request that has been checked: what the engine is to generate, and how the answer is to look.</summary>
public sealed record Call
{
    /// <summary>Id of the answer: chatcmpl-... or cmpl-...</summary>
    public required string Id { get; init; }

    /// <summary>The model's name as the client asked for it.</summary>
    public required string Model { get; init; }

    /// <summary>Unix time.</summary>
    public required long Created { get; init; }

    /// <summary>One for each prompt; choice c of prompt p has index p * n + c.</summary>
    public required GenerationRequest[] Requests { get; init; }

    public required AnswerForm Form { get; init; }

    /// <summary>Only of the Responses API.</summary>
    public ResponseEcho? Echo { get; init; }

    /// <summary>Nothing is generated (max_tokens 0): the answer is the echoed prompt or its log-probabilities.</summary>
    public bool ScoreOnly { get; init; }

    public int ChoicesPerPrompt => Requests[0].Choices;

    public int ChoiceCount => Requests.Length * ChoicesPerPrompt;

    public int PromptTokens => Requests.Sum(request => request.Prompt.Length);
}

/// <summary>How an answer is to look.</summary>
public sealed record AnswerForm
{
    public bool Stream { get; init; }

    /// <summary>A last chunk with usage, and usage null in the others.</summary>
    public bool IncludeUsage { get; init; }

    /// <summary>Running usage in every chunk (vLLM).</summary>
    public bool ContinuousUsage { get; init; }

    public string[] Stop { get; init; } = [];

    public bool IncludeStop { get; init; }

    public bool SkipSpecialTokens { get; init; } = true;

    /// <summary>-1 = none, 0 = of the token itself, N = also of the N most probable.</summary>
    public int LogProbabilities { get; init; } = -1;

    public bool ReturnTokenIds { get; init; }

    /// <summary>Completions: the prompt's text comes before the answer's.</summary>
    public bool Echo { get; init; }

    /// <summary>prompt_logprobs (vLLM): -1 = none, 0 = of the prompt's tokens themselves, N = also of the N most probable.</summary>
    public int PromptLogProbabilities { get; init; } = -1;

    /// <summary>What the text is divided into: reasoning, content, tool calls.</summary>
    public AnswerLayout Layout { get; init; } = AnswerLayout.Plain;

    /// <summary>Reasoning is part of the answer (include_reasoning).</summary>
    public bool ShowReasoning { get; init; } = true;

    /// <summary>Log-probabilities show a token as token_id:N instead of its text (vLLM).</summary>
    public bool TokensAsIds { get; init; }

    /// <summary>Log-probabilities of the prompt that have to be computed, as <see cref="PromptLogProbabilities"/>.</summary>
    public int ScoredLogProbabilities => Math.Max(PromptLogProbabilities, Echo ? LogProbabilities : -1);
}
